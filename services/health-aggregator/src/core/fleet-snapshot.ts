import type { InstanceMonitor } from './instance-monitor.ts';
import type { ServiceInstances } from './instance-registry.ts';
import type { DependencyReading, InstanceState, ProbeOutcome } from './ports.ts';
import {
  type DependencyAssessment,
  type DependencyReport,
  dependencyStatus,
  type ServiceStatus,
  serviceStatus,
} from './status.ts';

/** One instance as clients of the aggregator see it. Ages in ms at the time of the response. */
export interface InstanceSnapshot {
  readonly id: string;
  readonly name: string;
  readonly state: InstanceState;
  /** Code of the cause of the state, such as `refused` or `dependency_redis`. */
  readonly why: string;
  /** True while damping holds back recoveries of an instance that fails repeatedly. */
  readonly flapping?: boolean;
  /** ms since the transition to the state. */
  readonly forMs: number;
  /** ms since the first evidence of the state, such as the first failed probe; more than `forMs`. */
  readonly evidenceForMs?: number;
  readonly version: string;
  readonly startedAt: string;
  readonly beatAgeMs: number;
  readonly probe?: { readonly outcome: ProbeOutcome; readonly durationMs: number; readonly ageMs: number };
  /** Numbers of its last heartbeat, for instance `connections`. */
  readonly load: Readonly<Record<string, number>>;
}

/** A service with all its instances. */
export interface ServiceSnapshot {
  readonly service: string;
  readonly status: ServiceStatus;
  readonly up: number;
  readonly total: number;
  readonly expected: number;
  readonly instances: readonly InstanceSnapshot[];
}

/** Result of the last synthetic check. The leader runs it and shares the result. */
export interface SyntheticCheckSnapshot {
  /** `failing` after three failures in a row. */
  readonly status: 'ok' | 'failed' | 'failing';
  /** The step at which the last check failed. */
  readonly step?: string;
  /** Duration of the last successful check, ms. */
  readonly durationMs?: number;
  readonly ageMs: number;
}

/** Effect of a failure on users, with its start and cause. */
export interface Impact {
  /** A store, a service, or `synthetic-check`. */
  readonly subject: string;
  /** Time of the first failed check or probe, ISO 8601; the fault may be older when the observer had just started. */
  readonly since: string;
  /** One sentence for users. */
  readonly users: string;
  /** Codes of the cause. */
  readonly reasons: readonly string[];
}

/** The state of the fleet as one observer sees it at one moment. */
export interface FleetSnapshot {
  readonly fleet: string;
  readonly status: ServiceStatus;
  /** Incremented when anything but an age or a measured duration changes. */
  readonly version: number;
  /** Time of the freshest evidence of any kind. */
  readonly asOf: string;
  readonly ageMs: number;
  /** True while the registry is unreadable or inconsistent; membership is then kept as it was. */
  readonly frozen: boolean;
  /** The aggregator that records incidents and notifies; null without a leader, or when Redis is unavailable. */
  readonly leader: { readonly name: string; readonly epoch: number } | null;
  readonly observer: { readonly name: string; readonly version: string; readonly startedAt: string };
  readonly dependencies: Readonly<Record<string, DependencyAssessment>>;
  /** Stores first; empty when everything works, or when nothing is known. */
  readonly impact: readonly Impact[];
  readonly journey?: SyntheticCheckSnapshot;
  readonly services: readonly ServiceSnapshot[];
}

/** Changes of a snapshot whose `version` is the same: ages and measured times. */
export interface FleetPulse {
  readonly asOf: string;
  readonly ageMs: number;
  readonly dependencies: FleetSnapshot['dependencies'];
  readonly instances: Readonly<Record<string, InstancePulse>>;
}

interface InstancePulse {
  readonly beatAgeMs: number;
  readonly probeMs?: number;
  readonly loopP99Ms?: number;
}

/** Reduces a snapshot to its ages and measured times. */
export const pulseOf = ({ asOf, ageMs, dependencies, services }: FleetSnapshot): FleetPulse => ({
  ...{ asOf, ageMs, dependencies },
  instances: Object.fromEntries(
    services.flatMap(({ instances }) =>
      instances.map(({ id, beatAgeMs, probe, load: { loopP99Ms } }) => [
        id,
        {
          beatAgeMs,
          ...(probe ? { probeMs: probe.durationMs } : {}),
          ...(loopP99Ms === undefined ? {} : { loopP99Ms }),
        },
      ]),
    ),
  ),
});

const AGES: ReadonlySet<string> = new Set([
  'asOf',
  'ageMs',
  'beatAgeMs',
  'forMs',
  'evidenceForMs',
  'durationMs',
  'latencyMs',
  'loopP99Ms',
  'loopUtilisation',
  'rssBytes',
]);

/** JSON text that is equal for two snapshots exactly if they differ in nothing but ages and measured durations. */
export const stableSnapshot = (snapshot: FleetSnapshot): string =>
  JSON.stringify({ ...snapshot, version: 0 }, (key, value: unknown) =>
    AGES.has(key) && typeof value !== 'object' ? undefined : value,
  );

interface ServiceSnapshotOptions {
  readonly now: number;
  readonly staleAfterMs: number;
  /** ms the registry has been readable: an empty service is an outage only after `staleAfterMs` of that. */
  readonly readableForMs: number;
  /** Instances that were discovered by their address and send no heartbeats. */
  readonly unregistered: readonly InstanceSnapshot[];
}

/** The snapshot of one service, with its status. */
export const snapshotService = (
  service: string,
  { monitors, expected, dampings }: ServiceInstances,
  { now, staleAfterMs, readableForMs, unregistered }: ServiceSnapshotOptions,
): ServiceSnapshot => {
  const registered = [...monitors.values()];
  const instances = registered.map((monitor) =>
    snapshotInstance(monitor, now, dampings.get(monitor.heartbeat.name)?.isFlapping(now) ?? false),
  );
  instances.push(...unregistered);
  const states = instances.map(({ state }) => state);
  const expectedCount = expected.count(states.filter((state) => state === 'draining').length);
  const evidenceAt = Math.max(
    Number.NEGATIVE_INFINITY,
    ...registered.map((monitor) => monitor.evidenceAt),
    ...unregistered.flatMap(({ probe }) => (probe ? [now - probe.ageMs] : [])),
  );
  const isEmptyForSure = instances.length === 0 && readableForMs > staleAfterMs;
  const evidenceAgeMs = isEmptyForSure ? 0 : now - evidenceAt;
  return {
    service,
    status: serviceStatus({ states, expected: expectedCount, evidenceAgeMs }, staleAfterMs),
    up: states.filter((state) => state === 'up').length,
    total: instances.length,
    expected: expectedCount,
    instances: instances.sort((a, b) => a.name.localeCompare(b.name, 'en', { numeric: true })),
  };
};

const snapshotInstance = (monitor: InstanceMonitor, now: number, isFlapping: boolean): InstanceSnapshot => {
  const { id, heartbeat, state, why, since, evidenceSince, heartbeatAt } = monitor;
  // A recovery after many failures is not yet reported as good.
  const isHeldBack = isFlapping && state === 'up';
  return {
    ...{ id, name: heartbeat.name },
    state: isHeldBack ? 'degraded' : state,
    why: isHeldBack ? 'flapping' : why,
    ...(isFlapping ? { flapping: true } : {}),
    forMs: Math.round(now - since),
    evidenceForMs: Math.round(now - evidenceSince),
    version: heartbeat.version,
    startedAt: new Date(heartbeat.startedAt).toISOString(),
    beatAgeMs: Math.max(0, Math.round(now - heartbeatAt)),
    ...probeSnapshot(monitor.probe, now),
    load: heartbeat.load,
  };
};

/** The last probe of an instance, rounded to 0.1 ms; nothing before the first. */
export const probeSnapshot = (probe: InstanceMonitor['probe'], now: number): Pick<InstanceSnapshot, 'probe'> => {
  if (!probe) return {};
  const { outcome, durationMs } = probe.result;
  return {
    probe: { outcome, durationMs: Math.round(durationMs * 10) / 10, ageMs: Math.round(now - probe.at) },
  };
};

/** Stores by their name in responses: the names in heartbeats and health bodies, and the service whose reports count. */
const STORES: Readonly<Record<string, { readonly keys: readonly string[]; readonly reportedBy?: string }>> = {
  database: { keys: ['postgres', 'database'], reportedBy: 'session-service' },
  redis: { keys: ['redis'] },
};

/** Assesses each store from the reports of the instances. */
export const snapshotDependencies = (
  monitors: readonly InstanceMonitor[],
  now: number,
): FleetSnapshot['dependencies'] =>
  Object.fromEntries(
    Object.entries(STORES).map(([name, { keys, reportedBy }]) => {
      const reports = monitors.flatMap((monitor): DependencyReport[] => {
        const reading = readingOf(monitor, keys, reportedBy);
        return reading ? [{ reading, ageMs: Math.max(0, now - monitor.dependencies.at) }] : [];
      });
      return [name, dependencyStatus(reports)];
    }),
  );

const readingOf = (
  { heartbeat, dependencies: { readings } }: InstanceMonitor,
  keys: readonly string[],
  reportedBy: string | undefined,
): DependencyReading | undefined => {
  if (reportedBy !== undefined && heartbeat.service !== reportedBy) return undefined;
  return keys.map((key) => readings[key]).find((found) => found !== undefined);
};

/** The report of an instance on a dependency, by the name in responses or in heartbeats. */
export const dependencyReading = (monitor: InstanceMonitor, dependency: string): DependencyReading | undefined => {
  const store = Object.entries(STORES).find(
    ([name, { keys }]) => name === dependency || keys.includes(dependency),
  )?.[1];
  return store && readingOf(monitor, store.keys, store.reportedBy);
};
