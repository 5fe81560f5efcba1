import type { FleetSnapshot, InstanceSnapshot } from './fleet-snapshot.ts';

/** Utilisation above which more replicas are advised. */
const TARGET_RATIO = 0.7;

/** Connections of a service against its limits, over the instances that accept new connections. */
export interface Capacity {
  readonly used: number;
  readonly limit: number;
  readonly headroom: number;
  /** used / limit, 0 to 1. */
  readonly utilisation: number;
  /** Connections of the fullest instance divided by the mean; 1 is even. */
  readonly imbalance: number;
  readonly advice: { readonly replicas: number };
}

/** Capacity by service. A service without a countable instance is left out: unknown is not zero. */
export const capacityOf = (snapshot: FleetSnapshot): Readonly<Record<string, Capacity>> =>
  Object.fromEntries(
    snapshot.services.flatMap(({ service, status, instances }) => {
      const serving = instances.filter(countsConnections);
      return status === 'unknown' || serving.length === 0 ? [] : [[service, capacityOfInstances(serving)] as const];
    }),
  );

/** The load in an older heartbeat is outdated, ms. */
export const LOAD_FRESH_MS = 15_000;

/** True when it accepts new connections and the number of its connections is known. */
export const countsConnections = ({ state, load, beatAgeMs }: InstanceSnapshot): boolean =>
  (state === 'up' || state === 'degraded' || state === 'suspect') &&
  beatAgeMs <= LOAD_FRESH_MS &&
  load['connections'] !== undefined &&
  (load['connectionsLimit'] ?? 0) > 0;

const capacityOfInstances = (instances: readonly InstanceSnapshot[]): Capacity => {
  const counts = instances.map(({ load }) => load['connections'] ?? 0);
  const used = counts.reduce((sum, count) => sum + count, 0);
  const limit = instances.reduce((sum, { load }) => sum + (load['connectionsLimit'] ?? 0), 0);
  const mean = used / instances.length;
  return {
    used,
    limit,
    headroom: Math.max(0, limit - used),
    utilisation: round(used / limit),
    imbalance: mean === 0 ? 1 : round(Math.max(...counts) / mean),
    advice: { replicas: Math.max(1, Math.ceil(used / ((limit / instances.length) * TARGET_RATIO))) },
  };
};

const round = (value: number): number => Math.round(value * 1_000) / 1_000;
