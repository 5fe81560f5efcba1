import type { DependencyReading, InstanceState } from './ports.ts';

/** Status of a service and of the fleet. `unknown` means no fresh evidence and is never shown as good. */
export const SERVICE_STATUSES = ['operational', 'degraded', 'partial_outage', 'major_outage', 'unknown'] as const;
export type ServiceStatus = (typeof SERVICE_STATUSES)[number];

/** Status in `/health`. `unknown` appears in single checks only; as a whole it is `unhealthy`. */
export type HealthStatus = 'healthy' | 'degraded' | 'unhealthy' | 'unknown';

interface StatusProjection {
  readonly health: HealthStatus;
  /** Of the Internet-Draft "Health Check Response Format for HTTP APIs". */
  readonly check: 'pass' | 'warn' | 'fail';
  /** For users. */
  readonly text: string;
}

/** A status in every vocabulary of the responses. */
export const STATUS_PROJECTION: Readonly<Record<ServiceStatus, StatusProjection>> = {
  operational: { health: 'healthy', check: 'pass', text: 'Operational' },
  degraded: { health: 'degraded', check: 'warn', text: 'Degraded' },
  partial_outage: { health: 'degraded', check: 'warn', text: 'Partial outage' },
  major_outage: { health: 'unhealthy', check: 'fail', text: 'Major outage' },
  unknown: { health: 'unknown', check: 'fail', text: 'No data yet' },
};

/** Status of a dependency, assessed from the reports of all observers. */
export interface DependencyAssessment {
  readonly status: 'up' | 'degraded' | 'down' | 'unknown';
  /** Causes reported by failing observers, the most frequent first, such as `permission`. */
  readonly reasons?: readonly string[];
  /** Median of the measured latencies, ms. */
  readonly latencyMs?: number;
  /** ms since the first failed check, or, of a store that is up, since the last observer recovered. */
  readonly forMs?: number;
  /** Age of the freshest report, ms. */
  readonly ageMs?: number;
  readonly reporters: number;
  readonly failing: number;
}

/** A dependency as a service. */
export const STATUS_OF_DEPENDENCY: Readonly<Record<DependencyAssessment['status'], ServiceStatus>> = {
  up: 'operational',
  degraded: 'degraded',
  down: 'major_outage',
  unknown: 'unknown',
};

/** An instance as a service. An orderly leave is not an outage; an instance that has not been up yet is unknown. */
export const STATUS_OF_INSTANCE: Readonly<Record<InstanceState, ServiceStatus>> = {
  starting: 'unknown',
  up: 'operational',
  degraded: 'degraded',
  suspect: 'degraded',
  draining: 'degraded',
  down: 'major_outage',
  gone: 'major_outage',
};

/** Reasons are codes; free text of a service is not published. */
const CODE = /^[a-z_]{1,32}$/;
const SHOWN_REASONS = 3;
const DEGRADED_RATIO = 0.67;
/** Older reports on a dependency are ignored, ms. */
export const REPORT_FRESH_MS = 10_000;

/** The instances of one service, as counted by state. */
export interface ServiceCount {
  readonly states: readonly InstanceState[];
  readonly expected: number;
  /** Age of the freshest evidence about any of them, ms; Infinity if there is none. */
  readonly evidenceAgeMs: number;
}

/** True in states in which an instance serves clients; `suspect` serves until it is `down`. */
export const isServing = (state: InstanceState): boolean =>
  state === 'up' || state === 'degraded' || state === 'suspect';

/** Status of one service; `unknown` without evidence fresher than `staleAfterMs`. */
export const serviceStatus = (count: ServiceCount, staleAfterMs: number): ServiceStatus => {
  if (count.evidenceAgeMs > staleAfterMs) return 'unknown';
  const serving = count.states.filter(isServing).length;
  const expected = Math.max(1, count.expected);
  if (serving === 0) return count.states.includes('starting') ? 'unknown' : 'major_outage';
  if (serving < expected * DEGRADED_RATIO) return 'partial_outage';
  const isClean = count.states.every((state) => state === 'up' || state === 'draining' || state === 'starting');
  return serving >= expected && isClean ? 'operational' : 'degraded';
};

/** The report of one observer on a dependency. */
export interface DependencyReport {
  readonly reading: DependencyReading;
  readonly ageMs: number;
}

/** Assesses one dependency; reports older than 10 s are ignored. */
export const dependencyStatus = (reports: readonly DependencyReport[]): DependencyAssessment => {
  const fresh = reports.filter(({ reading, ageMs }) => ageMs <= REPORT_FRESH_MS && reading.status !== 'unknown');
  if (fresh.length === 0) return { status: 'unknown', reporters: 0, failing: 0 };
  const down = fresh.filter(({ reading }) => reading.status === 'down');
  const failing = down.length;
  const reasons = byFrequency(
    down.flatMap(({ reading: { reason } }) => (reason !== undefined && CODE.test(reason) ? [reason] : [])),
  );
  const latencies = fresh.flatMap(({ reading }) => (reading.latencyMs === undefined ? [] : [reading.latencyMs]));
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

const byFrequency = (codes: readonly string[]): string[] =>
  [...Map.groupBy(codes, (code) => code)]
    .sort(([a, first], [b, second]) => second.length - first.length || a.localeCompare(b))
    .map(([code]) => code)
    .slice(0, SHOWN_REASONS);

/** Facts that determine the status of the fleet. */
export interface FleetFacts {
  /** Statuses of the services that `EXPECTED` names. */
  readonly required: readonly ServiceStatus[];
  readonly others: readonly ServiceStatus[];
  readonly dependencies: readonly DependencyAssessment['status'][];
  /** The synthetic check failed three times in a row. */
  readonly isSyntheticCheckFailing: boolean;
  /** False until there is any evidence. */
  readonly hasEvidence: boolean;
  /** Age of the freshest evidence of any kind, ms. */
  readonly ageMs: number;
}

/**
 * Status of the fleet: `unknown` from stale data, `major_outage` if a required service does not serve or every dependency is down,
 * otherwise the worst status of the rest. One dependency down is a `partial_outage`.
 */
export const fleetStatus = (facts: FleetFacts, staleAfterMs: number): ServiceStatus => {
  const { required, others, dependencies, hasEvidence, ageMs } = facts;
  if (!hasEvidence || ageMs > staleAfterMs || required.includes('unknown')) return 'unknown';
  if (required.includes('major_outage')) return 'major_outage';
  if (dependencies.length > 0 && dependencies.every((status) => status === 'down')) return 'major_outage';
  // With a store down the synthetic check fails for a known cause, which is not an outage of everything.
  if (facts.isSyntheticCheckFailing && dependencies.every((status) => status === 'up')) return 'major_outage';
  if (required.includes('partial_outage') || dependencies.includes('down')) return 'partial_outage';
  const good = [...required, ...others].every((status) => status === 'operational');
  return good && dependencies.every((status) => status === 'up') ? 'operational' : 'degraded';
};
