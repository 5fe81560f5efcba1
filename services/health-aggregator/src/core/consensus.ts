import { dependencyReading } from './fleet-snapshot.ts';
import type { InstanceMonitor } from './instance-monitor.ts';
import { isServing, REPORT_FRESH_MS } from './status.ts';

const MIN_OBSERVERS = 2;
const MAX_WITHDRAWN_SHARE = 0.25;

/** Reports of all other instances on a dependency, for an instance that cannot reach it. */
export interface DependencyConsensus {
  /** Other instances with a fresh report. */
  readonly observers: number;
  /** Observers that cannot reach it either. */
  readonly failing: number;
  /** True when the fault is local to the instance: enough observers report, and most of them reach the dependency. */
  readonly isLocal: boolean;
  /** How many instances of the service may withdraw at once; undefined for an instance that may not. */
  readonly quota: { readonly service: string; readonly most: number } | undefined;
}

/**
 * Compares an instance with all others. It may withdraw only if it reports the fault itself, and if another instance of its
 * service serves.
 */
export const dependencyConsensus = (
  dependency: string,
  id: string,
  monitors: readonly InstanceMonitor[],
  now: number,
): DependencyConsensus => {
  const reports = monitors.flatMap((monitor) => {
    const reading = dependencyReading(monitor, dependency);
    const isFresh = now - monitor.dependencies.at <= REPORT_FRESH_MS;
    return reading === undefined || reading.status === 'unknown' || !isFresh ? [] : [{ monitor, reading }];
  });
  const others = reports.filter(({ monitor }) => monitor.id !== id);
  const failing = others.filter(({ reading }) => reading.status === 'down').length;
  const own = reports.find(({ monitor }) => monitor.id === id);
  return {
    observers: others.length,
    failing,
    isLocal: others.length >= MIN_OBSERVERS && failing * 2 < others.length,
    quota: own?.reading.status === 'down' ? quotaOf(own.monitor, monitors) : undefined,
  };
};

const quotaOf = (own: InstanceMonitor, monitors: readonly InstanceMonitor[]): DependencyConsensus['quota'] => {
  const { service } = own.heartbeat;
  const instances = monitors.filter(({ heartbeat, state }) => heartbeat.service === service && state !== 'gone');
  if (!instances.some(({ id, state }) => id !== own.id && isServing(state))) return undefined;
  return { service, most: Math.max(1, Math.floor(instances.length * MAX_WITHDRAWN_SHARE)) };
};
