import type { FleetSnapshot, InstanceSnapshot } from './fleet-snapshot.ts';

/** Utilisation at which one should have more replicas. */
const TARGET_RATIO = 0.7;

/** How full a service is, over the instances that take new connections. */
export interface Capacity {
  readonly used: number;
  readonly limit: number;
  readonly headroom: number;
  /** used / limit, 0 to 1. */
  readonly utilisation: number;
  /** The fullest instance against the mean; 1 is even. */
  readonly imbalance: number;
  readonly advice: { readonly replicas: number };
}

/** The capacity of every service that counts connections. A service with no instance to count is left out: unknown is not zero. */
export const capacityOf = (view: FleetSnapshot): Readonly<Record<string, Capacity>> =>
  Object.fromEntries(
    view.services.flatMap(({ service, status, instances }) => {
      const serving = instances.filter(countsConnections);
      return status === 'unknown' || serving.length === 0 ? [] : [[service, describe(serving)] as const];
    }),
  );

/** Numbers of a heartbeat that is older than this are not those of now, ms. */
export const LOAD_FRESH_MS = 15_000;

const countsConnections = ({ state, load, beatAgeMs }: InstanceSnapshot): boolean =>
  (state === 'up' || state === 'degraded' || state === 'suspect') &&
  beatAgeMs <= LOAD_FRESH_MS &&
  load['connections'] !== undefined &&
  (load['connectionsLimit'] ?? 0) > 0;

const describe = (instances: readonly InstanceSnapshot[]): Capacity => {
  const each = instances.map(({ load }) => load['connections'] ?? 0);
  const used = each.reduce((sum, one) => sum + one, 0);
  const limit = instances.reduce((sum, { load }) => sum + (load['connectionsLimit'] ?? 0), 0);
  const mean = used / instances.length;
  return {
    used,
    limit,
    headroom: Math.max(0, limit - used),
    utilisation: round(used / limit),
    imbalance: mean === 0 ? 1 : round(Math.max(...each) / mean),
    advice: { replicas: Math.max(1, Math.ceil(used / ((limit / instances.length) * TARGET_RATIO))) },
  };
};

const round = (value: number): number => Math.round(value * 1_000) / 1_000;
