import { type Clock, every, within } from './clock.ts';
import { type DependencyFault, dependencyFaultOf } from './dependency-faults.ts';
import type { Logger } from './logger.ts';
import type { Metrics } from './metrics.ts';

/** What is known about one dependency. A result older than 10 s counts as unknown. */
export interface DependencyStatus {
  readonly status: 'up' | 'down' | 'unknown';
  /** Duration of the last check in milliseconds. */
  readonly latencyMs?: number;
  /** Milliseconds since the Unix epoch; 0 before the first check. */
  readonly checkedAt: number;
  /** A word for people, free of host names and secrets. */
  readonly reason?: DependencyFault;
}

export type ProcessState = 'starting' | 'ready' | 'degraded' | 'draining';

/** What this process knows of itself and of what it depends on. Reading it never causes I/O. */
export interface Health extends AsyncDisposable {
  state(): ProcessState;
  /** Whether new work may come. A shared fault makes a process unready only under the strict policy. */
  isReady(): boolean;
  /** True from the first contact with every dependency, or 30 s after boot, for ever. */
  started(): boolean;
  dependency(name: string): DependencyStatus;
  dependencies(): Readonly<Record<string, DependencyStatus>>;
  /** From now on not ready, whatever the dependencies say. */
  startDraining(): void;
  /** Not ready until {@link Health.restore}: an operator wants no new clients here. Shows as `draining`. */
  withdraw(): void;
  /** Takes back {@link Health.withdraw}; a process that is shutting down stays `draining`. */
  restore(): void;
  /** A dependency that only this process cannot reach: not ready until it is taken back with undefined. */
  blame(dependency: string | undefined): void;
  blamed(): string | undefined;
  /** Runs every check now; for start-up and tests. */
  checkNow(): Promise<void>;
}

interface HealthDeps {
  readonly clock: Clock;
  readonly log: Logger;
  readonly metrics: Metrics;
  /** One check per dependency: resolves when it works, rejects when not. */
  readonly checks: Readonly<Record<string, () => Promise<void>>>;
  readonly intervalMs?: number;
  /** Unready as soon as one dependency is not up. Then a shared fault takes every replica out of the pool at once. */
  readonly isStrict?: boolean;
  /** How long after boot a dependency that was never reached keeps the process `starting`; 30 s by default. */
  readonly startupGraceMs?: number;
}

const INTERVAL_MS = 2_000;
const CHECK_TIMEOUT_MS = 1_000;
const STALE_MS = 10_000;
const STARTUP_GRACE_MS = 30_000;
const NEVER_CHECKED: DependencyStatus = { status: 'unknown', checkedAt: 0 };

/** Checks every dependency in the background, one check of each at a time. */
export const createHealth = (deps: HealthDeps): Health => {
  const { clock, checks } = deps;
  const names = Object.keys(checks);
  const readyStates: readonly ProcessState[] = deps.isStrict ? ['ready'] : ['ready', 'degraded'];
  const bootedAt = clock.monotonic();
  const graceMs = deps.startupGraceMs ?? STARTUP_GRACE_MS;
  const known = new Map<string, DependencyStatus>();
  const running = new Map<string, Promise<void>>();
  const will = createWill();
  let latched = false;
  const record = createRecorder(deps);

  const dependency = (name: string): DependencyStatus => {
    const last = known.get(name) ?? NEVER_CHECKED;
    const stale = clock.now() - last.checkedAt > STALE_MS;
    return stale ? { status: 'unknown', checkedAt: last.checkedAt } : last;
  };
  const allUp = () => names.every((name) => dependency(name).status === 'up');
  const started = () => {
    latched ||= allUp() || clock.monotonic() - bootedAt >= graceMs;
    return latched;
  };
  const check = (name: string, run: () => Promise<void>): Promise<void> => {
    const under = running.get(name);
    if (under !== undefined) return under;
    const begun = clock.monotonic();
    const finish = (problem?: unknown) => {
      const latencyMs = Math.round((clock.monotonic() - begun) * 10) / 10;
      const before = known.get(name);
      const status: DependencyStatus =
        problem === undefined
          ? { status: 'up', latencyMs, checkedAt: clock.now() }
          : { status: 'down', latencyMs, checkedAt: clock.now(), reason: dependencyFaultOf(problem) };
      known.set(name, status);
      running.delete(name);
      started(); // Latches, whether or not anybody asks right now.
      record(name, before, status, problem);
    };
    const work = within(CHECK_TIMEOUT_MS, `check of ${name}`, run()).then(() => finish(), finish);
    running.set(name, work);
    return work;
  };
  const checkNow = async () => {
    await Promise.all(Object.entries(checks).map(([name, run]) => check(name, run)));
  };
  const stop = every(deps.intervalMs ?? INTERVAL_MS, () => void checkNow());

  const state = (): ProcessState => {
    if (will.isLeaving()) return 'draining';
    if (!started()) return 'starting';
    return allUp() ? 'ready' : 'degraded';
  };

  return {
    state,
    isReady: () => will.blamed() === undefined && readyStates.includes(state()),
    started,
    dependency,
    dependencies: () => Object.fromEntries(names.map((name) => [name, dependency(name)])),
    ...will,
    checkNow,
    [Symbol.asyncDispose]: async () => {
      stop();
      await Promise.allSettled(running.values());
    },
  };
};

/** What was decided about this process, by itself, by an operator, or by the fleet. */
const createWill = () => {
  let draining = false;
  let withdrawn = false;
  let mine: string | undefined;
  return {
    isLeaving: () => draining || withdrawn,
    startDraining: () => {
      draining = true;
    },
    withdraw: () => {
      withdrawn = true;
    },
    restore: () => {
      withdrawn = false;
    },
    blame: (dependency: string | undefined) => {
      mine = dependency;
    },
    blamed: () => mine,
  };
};

/** Writes each result into the metrics, and each change of status into the log. */
const createRecorder = ({ log, metrics }: HealthDeps) => {
  const up = metrics.gauge('service_dependency_up');
  const duration = metrics.histogram('service_dependency_check_duration_seconds');
  const failures = metrics.counter('service_dependency_failures_total');
  return (
    dependency: string,
    before: DependencyStatus | undefined,
    now: DependencyStatus,
    error: unknown,
  ) => {
    up.set({ dependency }, now.status === 'up' ? 1 : 0);
    duration.observe({ dependency }, (now.latencyMs ?? 0) / 1000);
    if (now.status === 'down') failures.inc({ dependency, reason: now.reason ?? 'other' });
    if (before?.status === now.status && before.reason === now.reason) return;
    if (before === undefined && now.status === 'up') return;
    if (now.status === 'up') log.info({ dependency }, 'dependency.up');
    else log.warn({ dependency, reason: now.reason, message: messageOf(error) }, 'dependency.down');
  };
};

const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));
