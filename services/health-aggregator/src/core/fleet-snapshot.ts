import type { Impact } from './impact.ts';
import type { InstanceState, ProbeOutcome } from './ports.ts';
import type { DependencyAssessment, ServiceStatus } from './status.ts';

/** One instance as clients of the aggregator see it. Ages are ms at the time of answering. */
export interface InstanceSnapshot {
  readonly id: string;
  readonly name: string;
  readonly state: InstanceState;
  /** Code of the cause of the state, such as `refused` or `dependency_redis`. */
  readonly why: string;
  /** True while it falls and rises so often that a rise is no good news. */
  readonly flapping?: boolean;
  /** ms the state has lasted. */
  readonly forMs: number;
  /** ms since the first evidence of that, such as the first probe that failed; some more than `forMs`. */
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

/** What came of sending a client through the fleet. The leader does, and tells the others. */
export interface SyntheticCheckSnapshot {
  /** `failing` after three failures in a row. */
  readonly status: 'ok' | 'failed' | 'failing';
  /** The step at which the last one failed. */
  readonly step?: string;
  /** How long the last good one took. */
  readonly durationMs?: number;
  readonly ageMs: number;
}

/** The whole truth of one observer at one moment. */
export interface FleetSnapshot {
  readonly fleet: string;
  readonly status: ServiceStatus;
  /** Counts up whenever anything but an age or a measured duration changes. */
  readonly version: number;
  /** When the freshest evidence of any kind was gathered. */
  readonly asOf: string;
  readonly ageMs: number;
  /** True while the registry is not readable or not believable; membership is then kept as it was. */
  readonly frozen: boolean;
  /** The aggregator that keeps incidents and notifies; null when nobody does or nobody knows. */
  readonly leader: { readonly name: string; readonly epoch: number } | null;
  readonly observer: { readonly name: string; readonly version: string; readonly startedAt: string };
  readonly dependencies: Readonly<Record<string, DependencyAssessment>>;
  /** What users cannot do, the stores first; empty when they can do everything, or when nothing is known. */
  readonly impact: readonly Impact[];
  readonly journey?: SyntheticCheckSnapshot;
  readonly services: readonly ServiceSnapshot[];
}

/** What a page needs between two changes: only the ages and the measured times. */
export interface FleetPulse {
  readonly asOf: string;
  readonly ageMs: number;
  readonly dependencies: FleetSnapshot['dependencies'];
  readonly instances: Readonly<Record<string, InstancePulse>>;
}

/** What changes all the time about one instance. */
export interface InstancePulse {
  readonly beatAgeMs: number;
  readonly probeMs?: number;
  readonly loopP99Ms?: number;
}

/** Reduces a view to its ages. */
export const pulseOf = (view: FleetSnapshot): FleetPulse => ({
  asOf: view.asOf,
  ageMs: view.ageMs,
  dependencies: view.dependencies,
  instances: Object.fromEntries(
    view.services.flatMap(({ instances }) =>
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

/** Text that is equal for two views exactly if they differ in nothing but ages and measured durations. */
export const stableSnapshot = (view: FleetSnapshot): string =>
  JSON.stringify({ ...view, version: 0 }, (key, value: unknown) =>
    AGES.has(key) && typeof value !== 'object' ? undefined : value,
  );
