/** Connections of one program to Postgres, as the server sees them. */
export interface ClientGroup {
  readonly application: string;
  readonly state: string;
  readonly count: number;
  /** Seconds that the longest of them has been in this state. */
  readonly oldestS: number;
}

/** What the Postgres server says of its connections. */
export interface ServerConnections {
  readonly maxConnections: number;
  /** Kept back for superusers. */
  readonly reserved: number;
  readonly clients: readonly ClientGroup[];
}

/** What the Redis server says of its connections. */
export interface RedisConnectionUsage {
  readonly connected: number;
  readonly maxClients: number;
  readonly rejected: number;
}

/** This process and its pool. */
export interface PoolUsage {
  readonly total: number;
  readonly idle: number;
  readonly waiting: number;
  readonly max: number;
  readonly oldestCheckout: { readonly ageMs: number; readonly holder: string } | undefined;
}

/** How many connections the fleet may come to need. */
export interface FleetSize {
  readonly replicas: number;
  /** Replicas beside them while a new release rolls out. */
  readonly surge: number;
  readonly poolSize: number;
  readonly maxOverflow: number;
}

/** The sum, and whether it fits. */
export interface ConnectionBudget {
  readonly needed: number;
  readonly allowed: number;
  readonly fits: boolean;
  /** The sum spelled out, for people. */
  readonly sum: string;
}

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

/** One finding, and what to do about it. */
export interface Finding {
  readonly verdict: FindingName;
  readonly advice: string;
}

/** Beside the pool each replica keeps one connection for health checks. */
const PROBE_CONNECTIONS = 1;
/** A migration, and an operator who looks into it. */
const OTHERS = 2;
const SHARE = 0.8;
const LEAK_MS = 10_000;
const IDLE_IN_TRANSACTION_S = 10;
const FOREIGN_SHARE = 0.3;
const OWN_NAME = /^sessions@/;

/** Whether `(replicas + surge) × (pool + overflow + 1) + 2` stays within 80 % of what the server gives to us. */
export const connectionBudget = (
  { replicas, surge, poolSize, maxOverflow }: FleetSize,
  { maxConnections, reserved }: Pick<ServerConnections, 'maxConnections' | 'reserved'>,
): ConnectionBudget => {
  const perReplica = poolSize + maxOverflow + PROBE_CONNECTIONS;
  const needed = (replicas + surge) * perReplica + OTHERS;
  const allowed = Math.floor(SHARE * (maxConnections - reserved));
  const fits = needed <= allowed;
  const sum =
    `(${replicas} replicas + ${surge} during a rollout) × (${poolSize} pool + ${maxOverflow} overflow + ${PROBE_CONNECTIONS} probe)` +
    ` + ${OTHERS} others = ${needed} ${fits ? '≤' : '>'} ${allowed} = 80 % of (${maxConnections} max_connections − ${reserved} reserved)`;
  return { needed, allowed, fits, sum };
};

/** Everything that is wrong with the connections, the most likely cause first; `ok` when nothing is. */
export const diagnoseConnections = (report: {
  readonly pool: PoolUsage;
  readonly budget: ConnectionBudget | undefined;
  readonly postgres: ServerConnections | undefined;
  readonly redis: RedisConnectionUsage | undefined;
}): Finding[] => {
  const findings = [
    ...diagnosePool(report.pool),
    ...(report.postgres === undefined ? [] : diagnoseServer(report.postgres)),
    ...(report.budget === undefined || report.budget.fits ? [] : [tooLarge(report.budget)]),
    ...(report.redis !== undefined && report.redis.rejected > 0 ? [redisRejects(report.redis)] : []),
  ];
  if (report.postgres === undefined || report.redis === undefined) {
    const lost = report.postgres === undefined ? 'Postgres' : 'Redis';
    findings.push({ verdict: 'unknown', advice: `${lost} does not answer: look at it first.` });
  }
  return findings.length > 0 ? findings : [{ verdict: 'ok', advice: 'Nothing to do.' }];
};

const diagnosePool = ({ oldestCheckout, idle, total, max, waiting }: PoolUsage): Finding[] => {
  if (oldestCheckout !== undefined && oldestCheckout.ageMs > LEAK_MS) {
    const seconds = Math.round(oldestCheckout.ageMs / 1000);
    return [
      {
        verdict: 'leak',
        advice: `A connection of this replica has been held for ${seconds} s by ${oldestCheckout.holder}.`,
      },
    ];
  }
  if (waiting === 0 || idle > 0 || total < max) return [];
  return [
    {
      verdict: 'pool_exhausted',
      advice: `${waiting} requests wait for one of ${max} connections: statements are slow, or the pool is small.`,
    },
  ];
};

const diagnoseServer = ({ clients, maxConnections, reserved }: ServerConnections): Finding[] => {
  const stuck = clients.filter(
    (one) => one.state.startsWith('idle in transaction') && one.oldestS > IDLE_IN_TRANSACTION_S,
  );
  const foreign = clients.filter(({ application }) => !OWN_NAME.test(application));
  const foreignCount = foreign.reduce((sum, { count }) => sum + count, 0);
  const findings: Finding[] = stuck.map(({ application, count, oldestS }) => ({
    verdict: 'idle_in_transaction',
    advice: `${count} of "${application}" sit in an open transaction for up to ${Math.round(oldestS)} s: they hold locks and connections.`,
  }));
  if (foreignCount > FOREIGN_SHARE * (maxConnections - reserved)) {
    const names = foreign
      .map(({ application, count }) => `${application || '(no name)'} ×${count}`)
      .join(', ');
    findings.push({
      verdict: 'foreign_clients',
      advice: `Other programs hold ${foreignCount} connections: ${names}.`,
    });
  }
  return findings;
};

const tooLarge = ({ sum }: ConnectionBudget): Finding => ({
  verdict: 'fleet_too_large',
  advice: `${sum}. Lower PG_POOL_SIZE or PG_MAX_OVERFLOW, raise max_connections, or put PgBouncer between.`,
});

const redisRejects = ({ rejected, connected, maxClients }: RedisConnectionUsage): Finding => ({
  verdict: 'redis_rejects',
  advice: `Redis has refused ${rejected} connections (${connected} of ${maxClients} in use): raise maxclients, or find who reconnects.`,
});
