/** Connections of one application to Postgres in one state. */
export interface ClientGroup {
  readonly application: string;
  readonly state: string;
  readonly count: number;
  /** Seconds that the oldest has been in this state. */
  readonly oldestS: number;
}

/** Connection limits and clients of the Postgres server. */
export interface ServerConnections {
  readonly maxConnections: number;
  /** Reserved for superusers. */
  readonly reserved: number;
  readonly clients: readonly ClientGroup[];
}

/** Connections of the Redis server. */
export interface RedisConnectionUsage {
  readonly connected: number;
  readonly maxClients: number;
  readonly rejected: number;
}

/** The connections of a pool. */
export interface PoolStats {
  readonly total: number;
  readonly idle: number;
  readonly waiting: number;
  readonly max: number;
}

/** The connection pool of this process. */
export interface PoolUsage extends PoolStats {
  readonly oldestCheckout: { readonly ageMs: number; readonly holder: string } | undefined;
}

/** The figures that bound the connections of all replicas. */
export interface FleetSize {
  readonly replicas: number;
  /** Additional replicas while a release rolls out. */
  readonly surge: number;
  readonly poolSize: number;
  readonly maxOverflow: number;
}

/** The connections needed by the fleet and allowed by the server; `sum` is the calculation as text. */
export type ConnectionBudget = ReturnType<typeof connectionBudget>;

export const FINDING_NAMES = [
  'ok',
  'leak',
  'fleet_too_large',
  'idle_in_transaction',
  'foreign_clients',
  'pool_exhausted',
  'redis_rejects',
  'unknown',
] as const;
export type FindingName = (typeof FINDING_NAMES)[number];

/** A finding and its remedy. */
export interface Finding {
  readonly verdict: FindingName;
  readonly advice: string;
}

/** Each replica has one connection for health checks beside its pool. */
const PROBE_CONNECTIONS = 1;
/** One for a migration, one for an operator. */
const OTHERS = 2;
const SHARE = 0.8;
const LEAK_MS = 10_000;
const IDLE_IN_TRANSACTION_S = 10;
const FOREIGN_SHARE = 0.3;
const OWN_NAME = /^sessions@/;

/**
 * Compares `(replicas + surge) × (pool + overflow + 1) + 2` with 80 % of `max_connections`, without reserved
 * connections.
 */
export const connectionBudget = (
  { replicas, surge, poolSize, maxOverflow }: FleetSize,
  { maxConnections, reserved }: Pick<ServerConnections, 'maxConnections' | 'reserved'>,
) => {
  const perReplica = poolSize + maxOverflow + PROBE_CONNECTIONS;
  const needed = (replicas + surge) * perReplica + OTHERS;
  const allowed = Math.floor(SHARE * (maxConnections - reserved));
  const fits = needed <= allowed;
  const sum =
    `(${replicas} replicas + ${surge} during a rollout) × (${poolSize} pool + ${maxOverflow} overflow + ${PROBE_CONNECTIONS} probe)` +
    ` + ${OTHERS} others = ${needed} ${fits ? '≤' : '>'} ${allowed} = 80 % of (${maxConnections} max_connections − ${reserved} reserved)`;
  return { needed, allowed, fits, sum };
};

/** Findings in the order of likelihood; `ok` alone when there are none. */
export const diagnoseConnections = (report: {
  readonly pool: PoolUsage;
  readonly budget: ConnectionBudget | undefined;
  readonly postgres: ServerConnections | undefined;
  readonly redis: RedisConnectionUsage | undefined;
}): Finding[] => {
  const findings = [
    ...diagnosePool(report.pool),
    ...(report.postgres === undefined ? [] : diagnoseServer(report.postgres)),
    ...(report.budget === undefined || report.budget.fits ? [] : [fleetTooLarge(report.budget)]),
    ...(report.redis !== undefined && report.redis.rejected > 0 ? [redisRejects(report.redis)] : []),
  ];
  if (report.postgres === undefined || report.redis === undefined) {
    const missing = report.postgres === undefined ? 'Postgres' : 'Redis';
    findings.push({ verdict: 'unknown', advice: `${missing} does not respond. Check it first.` });
  }
  return findings.length > 0 ? findings : [{ verdict: 'ok', advice: 'No action needed.' }];
};

const diagnosePool = ({ oldestCheckout, idle, total, max, waiting }: PoolUsage): Finding[] => {
  if (oldestCheckout !== undefined && oldestCheckout.ageMs > LEAK_MS) {
    const seconds = Math.round(oldestCheckout.ageMs / 1000);
    return [
      {
        verdict: 'leak',
        advice: `A connection of this replica has been checked out for ${seconds} s by ${oldestCheckout.holder}.`,
      },
    ];
  }
  if (waiting === 0 || idle > 0 || total < max) return [];
  return [
    {
      verdict: 'pool_exhausted',
      advice: `${waiting} requests wait for one of ${max} connections: find slow statements or raise PG_POOL_SIZE.`,
    },
  ];
};

const diagnoseServer = ({ clients, maxConnections, reserved }: ServerConnections): Finding[] => {
  const stuck = clients.filter(
    ({ state, oldestS }) => state.startsWith('idle in transaction') && oldestS > IDLE_IN_TRANSACTION_S,
  );
  const foreign = clients.filter(({ application }) => !OWN_NAME.test(application));
  const foreignCount = foreign.reduce((sum, { count }) => sum + count, 0);
  const findings: Finding[] = stuck.map(({ application, count, oldestS }) => ({
    verdict: 'idle_in_transaction',
    advice: `${count} connections of "${application}" have been idle in a transaction for up to ${Math.round(oldestS)} s; they hold locks.`,
  }));
  if (foreignCount > FOREIGN_SHARE * (maxConnections - reserved)) {
    const names = foreign.map(({ application, count }) => `${application || '(no name)'} ×${count}`).join(', ');
    findings.push({
      verdict: 'foreign_clients',
      advice: `Other applications hold ${foreignCount} connections: ${names}.`,
    });
  }
  return findings;
};

const fleetTooLarge = ({ sum }: ConnectionBudget): Finding => ({
  verdict: 'fleet_too_large',
  advice: `${sum}. Lower PG_POOL_SIZE or PG_MAX_OVERFLOW, raise max_connections, or use PgBouncer.`,
});

const redisRejects = ({ rejected, connected, maxClients }: RedisConnectionUsage): Finding => ({
  verdict: 'redis_rejects',
  advice: `Redis has refused ${rejected} connections (${connected} of ${maxClients} in use). Raise maxclients, or find the client that reconnects.`,
});
