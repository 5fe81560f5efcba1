import type { DependencyReading, InstanceState } from './ports.ts';

/** The words for a service and for the whole fleet. `unknown` means no fresh evidence and is never shown as good. */
export const SERVICE_STATUSES = [
  'operational',
  'degraded',
  'partial_outage',
  'major_outage',
  'unknown',
] as const;
export type ServiceStatus = (typeof SERVICE_STATUSES)[number];

/** What all observers of one dependency say together. */
export interface DependencyAssessment {
  readonly status: 'up' | 'degraded' | 'down' | 'unknown';
  /** Why those that cannot use it say so, the most frequent reason first, such as `permission`. */
  readonly reasons?: readonly string[];
  /** Median of what the reporters measured, ms. */
  readonly latencyMs?: number;
  /**
   * How long it has been so by the checks of the reporters, ms: of a fault since the first check that failed, of a store that
   * is up since the last of them could use it again.
   */
  readonly forMs?: number;
  /** Age of the freshest report, ms. */
  readonly ageMs?: number;
  readonly reporters: number;
  readonly failing: number;
}

/** The statuses of stores in the words of services, for incidents and history. */
export const STORE_STATUS: Readonly<Record<DependencyAssessment['status'], ServiceStatus>> = {
  up: 'operational',
  degraded: 'degraded',
  down: 'major_outage',
  unknown: 'unknown',
};

/** Reasons are codes; a text of somebody else is not passed on. */
const CODE = /^[a-z_]{1,32}$/;
const SHOWN_REASONS = 3;
const DEGRADED_RATIO = 0.67;
/** Older words on a dependency count as silence, ms. */
export const REPORT_FRESH_MS = 10_000;

/** The instances of one service, as counted by state. */
export interface ServiceCount {
  readonly states: readonly InstanceState[];
  readonly expected: number;
  /** Age of the freshest evidence about any of them, ms; Infinity if there is none. */
  readonly evidenceAgeMs: number;
}

/** States in which an instance serves clients; a suspect still serves until it is proven down. */
export const isServing = (state: InstanceState): boolean =>
  state === 'up' || state === 'degraded' || state === 'suspect';

/** Judges one service. Without evidence fresher than `staleAfterMs` the answer is `unknown`, whatever it was before. */
export const serviceStatus = (count: ServiceCount, staleAfterMs: number): ServiceStatus => {
  if (count.evidenceAgeMs > staleAfterMs) return 'unknown';
  const serving = count.states.filter(isServing).length;
  const expected = Math.max(1, count.expected);
  if (serving === 0) return count.states.includes('starting') ? 'unknown' : 'major_outage';
  if (serving < expected * DEGRADED_RATIO) return 'partial_outage';
  const allWell = count.states.every(
    (state) => state === 'up' || state === 'draining' || state === 'starting',
  );
  return serving >= expected && allWell ? 'operational' : 'degraded';
};

/** One reporter's word on a dependency and how old it is. */
export interface DependencyReport {
  readonly reading: DependencyReading;
  readonly ageMs: number;
}

/** Merges reports of one dependency; those older than 10 s count as silence. */
export const dependencyStatus = (reports: readonly DependencyReport[]): DependencyAssessment => {
  const fresh = reports.filter(
    ({ reading, ageMs }) => ageMs <= REPORT_FRESH_MS && reading.status !== 'unknown',
  );
  if (fresh.length === 0) return { status: 'unknown', reporters: 0, failing: 0 };
  const down = fresh.filter(({ reading }) => reading.status === 'down');
  const failing = down.length;
  const reasons = byFrequency(
    down.flatMap(({ reading: { reason } }) => (reason !== undefined && CODE.test(reason) ? [reason] : [])),
  );
  const latencies = fresh.flatMap(({ reading }) =>
    reading.latencyMs === undefined ? [] : [reading.latencyMs],
  );
  latencies.sort((a, b) => a - b);
  const isUp = failing === 0;
  const times = (isUp ? fresh : down).flatMap(({ reading: { forMs }, ageMs }) =>
    forMs === undefined ? [] : [forMs + ageMs],
  );
  const forMs = times.length === 0 ? undefined : isUp ? Math.min(...times) : Math.max(...times);
  const median = latencies[Math.floor((latencies.length - 1) / 2)];
  return {
    status: isUp ? 'up' : failing === fresh.length ? 'down' : 'degraded',
    ...(reasons.length === 0 ? {} : { reasons }),
    ...(median === undefined ? {} : { latencyMs: Math.round(median * 100) / 100 }),
    ...(forMs === undefined ? {} : { forMs: Math.round(forMs) }),
    ageMs: Math.round(Math.min(...fresh.map(({ ageMs }) => ageMs))),
    reporters: fresh.length,
    failing,
  };
};

const byFrequency = (words: readonly string[]): string[] =>
  [...Map.groupBy(words, (word) => word)]
    .sort(([a, { length: often }], [b, { length: seldom }]) => seldom - often || a.localeCompare(b))
    .map(([word]) => word)
    .slice(0, SHOWN_REASONS);

/** What decides about the fleet as a whole. */
export interface FleetFacts {
  /** Statuses of the services without which clients are not served. */
  readonly required: readonly ServiceStatus[];
  readonly others: readonly ServiceStatus[];
  readonly dependencies: readonly DependencyAssessment['status'][];
  /** Clients sent through the fleet do not arrive, three times in a row. */
  readonly journeyFails: boolean;
  /** False until there was any evidence at all. */
  readonly known: boolean;
  /** Age of the freshest evidence of any kind, ms. */
  readonly ageMs: number;
}

/**
 * Judges the fleet: `unknown` from stale data, `major_outage` if a required service serves nobody or every
 * dependency is down, otherwise the worst that is left. One dependency down is a `partial_outage`: something that users do fails.
 */
export const fleetStatus = (facts: FleetFacts, staleAfterMs: number): ServiceStatus => {
  const { required, others, dependencies, known, ageMs } = facts;
  if (!known || ageMs > staleAfterMs || required.includes('unknown')) return 'unknown';
  if (required.includes('major_outage')) return 'major_outage';
  if (dependencies.length > 0 && dependencies.every((status) => status === 'down')) return 'major_outage';
  // With a store down journeys fail for a reason that is known already, and is not an outage of everything.
  if (facts.journeyFails && dependencies.every((status) => status === 'up')) return 'major_outage';
  if (required.includes('partial_outage') || dependencies.includes('down')) return 'partial_outage';
  const good = [...required, ...others].every((status) => status === 'operational');
  return good && dependencies.every((status) => status === 'up') ? 'operational' : 'degraded';
};
