import { type Clock, every, within } from './clock.ts';
import { type DependencyFault, dependencyFaultOf } from './dependency-faults.ts';
import type { Logger } from './logger.ts';
import type { Metrics } from './metrics.ts';

/** Result of the last check of a dependency; older than 10 s it is `unknown`. */
export interface DependencyStatus {
  readonly status: 'up' | 'down' | 'unknown';
  /** Duration of the last check in milliseconds. */
  readonly latencyMs?: number;
  /** Milliseconds since the Unix epoch; 0 before the first check. */
  readonly checkedAt: number;
  /** Milliseconds since the first check with this status started. */
  readonly forMs?: number;
  /** Reason code without host names and secrets. */
  readonly reason?: DependencyFault;
}

export type ProcessState = 'starting' | 'ready' | 'degraded' | 'draining';

/** Health of this process and its dependencies. Reading it causes no I/O. */
export interface Health extends AsyncDisposable {
  state(): ProcessState;
  /** Readiness for new work. A shared fault makes a process unready only under the strict policy. */
  isReady(): boolean;
  /** True once every required dependency was up, or 30 s after boot; never false again. */
  started(): boolean;
  dependency(name: string): DependencyStatus;
  dependencies(): Readonly<Record<string, DependencyStatus>>;
  /** Dependencies that count for start-up, the strict policy and local faults. */
  readonly required: readonly string[];
  /** Not ready from now on, whatever the state of the dependencies. */
  startDraining(): void;
  /** Not ready until {@link Health.restore}, on request of an operator. Shown as `draining`. */
  withdraw(): void;
  /** Reverts {@link Health.withdraw}; a process that shuts down stays `draining`. */
  restore(): void;
  /** Marks a dependency that only this process cannot reach: not ready until it is reset with undefined. */
  blame(dependency: string | undefined): void;
  blamed(): string | undefined;
  /** Runs one check, or all, at once: at start-up, and when a connection was lost or restored. */
  checkNow(name?: string): Promise<void>;
}

interface HealthDeps {
  readonly clock: Clock;
  readonly log: Logger;
  readonly metrics: Metrics;
  /** A check per dependency; rejects if the dependency does not work. */
  readonly checks: Readonly<Record<string, () => Promise<void>>>;
  /**
   * Checks of dependencies without which the process serves in part. A failure is shown, counted and logged like any other and
   * makes the process `degraded`, but never `starting` or unready.
   */
  readonly optionalChecks?: Readonly<Record<string, () => Promise<void>>>;
  readonly intervalMs?: number;
  /** Unready while a required dependency is not up: a shared fault then makes every replica unready. */
  readonly isStrict?: boolean;
  /** Time after boot for which an unreached dependency keeps the process `starting`, in ms; default 30 s. */
  readonly startupGraceMs?: number;
}

const INTERVAL_MS = 2_000;
/** Interval while a dependency is down, so that its recovery is detected soon. */
const RECHECK_MS = 500;
const CHECK_TIMEOUT_MS = 1_000;
const STALE_MS = 10_000;
const STARTUP_GRACE_MS = 30_000;
/** Reasons that an optional dependency has while it is starting. */
const NOT_THERE_YET: readonly DependencyFault[] = ['refused', 'timeout', 'unknown_host'];
const NEVER_CHECKED: DependencyStatus = { status: 'unknown', checkedAt: 0 };

/** The last result, the start of that check, and the start of the first check with that status; monotonic ms. */
interface Known {
  readonly status: DependencyStatus;
  readonly startedAt: number;
  readonly since: number;
}

/** Checks every dependency in the background, one check per dependency at a time. */
export const createHealth = (deps: HealthDeps): Health => {
  const { clock } = deps;
  const required = Object.keys(deps.checks);
  const names = [...required, ...Object.keys(deps.optionalChecks ?? {})];
  const bootedAt = clock.monotonic();
  const graceMs = deps.startupGraceMs ?? STARTUP_GRACE_MS;
  const decisions = createDecisions();
  let latched = false;
  const started = () => {
    latched ||= required.every(isUp) || clock.monotonic() - bootedAt >= graceMs;
    return latched;
  };
  const reached = new Set<string>();
  const checker = createChecker(deps, () => {
    started(); // Latches.
    for (const name of names) if (isUp(name)) reached.add(name);
  });
  /** An optional dependency that starts at the same time is not down yet. */
  const isAwaited = (name: string, { reason }: DependencyStatus): boolean =>
    !required.includes(name) &&
    !reached.has(name) &&
    reason !== undefined &&
    NOT_THERE_YET.includes(reason) &&
    clock.monotonic() - bootedAt < STARTUP_GRACE_MS;
  const dependency = (name: string): DependencyStatus => {
    const last = checker.dependency(name);
    return isAwaited(name, last) ? { ...last, status: 'unknown' } : last;
  };
  const { checkNow } = checker;
  const isUp = (name: string) => dependency(name).status === 'up';
  const state = (): ProcessState => {
    if (decisions.isLeaving()) return 'draining';
    if (!started()) return 'starting';
    const isFine = names.every((name) => isUp(name) || isAwaited(name, checker.dependency(name)));
    return isFine ? 'ready' : 'degraded';
  };
  const isServing = (): boolean => {
    const now = state();
    return now === 'ready' || (now === 'degraded' && (!deps.isStrict || required.every(isUp)));
  };
  return {
    state,
    isReady: () => decisions.blamed() === undefined && isServing(),
    required,
    started,
    dependency,
    dependencies: () => Object.fromEntries(names.map((name) => [name, dependency(name)])),
    ...decisions,
    checkNow,
    [Symbol.asyncDispose]: () => checker[Symbol.asyncDispose](),
  };
};

/** Runs the checks when they are due and keeps their last results. */
const createChecker = (deps: HealthDeps, onChecked: () => void) => {
  const { clock, intervalMs = INTERVAL_MS } = deps;
  const checks = Object.entries({ ...deps.checks, ...deps.optionalChecks });
  const known = new Map<string, Known>();
  const running = new Map<string, Promise<void>>();
  const record = createRecorder(deps);

  const check = (name: string, run: () => Promise<void>): Promise<void> => {
    const under = running.get(name);
    if (under !== undefined) return under;
    const startedAt = clock.monotonic();
    const finish = (problem?: unknown) => {
      const latencyMs = Math.round((clock.monotonic() - startedAt) * 10) / 10;
      const before = known.get(name);
      const status: DependencyStatus =
        problem === undefined
          ? { status: 'up', latencyMs, checkedAt: clock.now() }
          : { status: 'down', latencyMs, checkedAt: clock.now(), reason: dependencyFaultOf(problem) };
      const since = before?.status.status === status.status ? before.since : startedAt;
      known.set(name, { status, since, startedAt });
      running.delete(name);
      onChecked();
      record(name, before?.status, status, problem);
    };
    const work = within(CHECK_TIMEOUT_MS, `check of ${name}`, run()).then(() => finish(), finish);
    running.set(name, work);
    return work;
  };
  const checkDue = (): void => {
    for (const [name, run] of checks) {
      const last = known.get(name);
      const isDue = last === undefined || clock.monotonic() - last.startedAt >= intervalMs;
      if (isDue || last.status.status === 'down') void check(name, run);
    }
  };
  const stop = every(Math.min(RECHECK_MS, intervalMs), checkDue);
  return {
    dependency: (name: string): DependencyStatus => {
      const { status: last, since } = known.get(name) ?? { status: NEVER_CHECKED, since: 0 };
      const isStale = clock.now() - last.checkedAt > STALE_MS;
      if (isStale) return { status: 'unknown', checkedAt: last.checkedAt };
      return { ...last, forMs: Math.round(clock.monotonic() - since) };
    },
    checkNow: async (only?: string): Promise<void> => {
      const chosen = checks.filter(([name]) => only === undefined || name === only);
      await Promise.all(chosen.map(([name, run]) => check(name, run)));
    },
    [Symbol.asyncDispose]: async () => {
      stop();
      await Promise.allSettled(running.values());
    },
  };
};

/** Decisions about this process: shutdown, withdrawal by an operator, local fault. */
const createDecisions = () => {
  let draining = false;
  let withdrawn = false;
  let localFault: string | undefined;
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
      localFault = dependency;
    },
    blamed: () => localFault,
  };
};

/** Records each result in the metrics and each change of status in the log. */
const createRecorder = ({ log, metrics }: HealthDeps) => {
  const up = metrics.gauge('service_dependency_up');
  const duration = metrics.histogram('service_dependency_check_duration_seconds');
  const failures = metrics.counter('service_dependency_failures_total');
  return (dependency: string, before: DependencyStatus | undefined, now: DependencyStatus, error: unknown) => {
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
