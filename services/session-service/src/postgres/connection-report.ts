import { ConfigError } from '@muster/kit/config';
import type { Dependencies } from '../base.ts';
import { connectionBudget, diagnoseConnections, type FleetSize } from '../core/database-connections.ts';
import { readRedisConnections, readServerConnections } from './database-connections.ts';

/** Everything there is to know of the connections of this replica and of both servers. */
export type ConnectionReport = ReturnType<typeof reportOf>;

/** Looks at connections: at start for the budget, later for operators. */
export interface ConnectionReporter {
  /** Throws {@link ConfigError} with the sum spelled out when the fleet may need more than Postgres gives. Silent while Postgres is away. */
  requireBudget(): Promise<void>;
  report(): Promise<ConnectionReport>;
}

type ConnectionsDeps = Pick<Dependencies, 'postgres' | 'redis' | 'log' | 'config'>;

/** Asks the servers themselves; a server that is away is part of the report. */
export const createConnectionReporter = ({
  postgres,
  redis,
  log,
  config,
}: ConnectionsDeps): ConnectionReporter => {
  const size: FleetSize = {
    ...config.fleet,
    poolSize: config.postgres.poolSize,
    maxOverflow: config.postgres.maxOverflow,
  };
  const orNothing = async <T>(work: Promise<T>): Promise<T | undefined> => {
    try {
      return await work;
    } catch (error) {
      log.debug({ error }, 'database.connection_count_failed');
      return undefined;
    }
  };
  return {
    requireBudget: async () => {
      const server = await orNothing(readServerConnections(postgres));
      if (server === undefined) return;
      const budget = connectionBudget(size, server);
      if (!budget.fits)
        throw new ConfigError(`Too many database connections for this server: ${budget.sum}. ${ADVICE}`);
      log.info({ sum: budget.sum }, 'database.connection_budget');
    },
    report: async () => {
      const [server, cache] = await Promise.all([
        orNothing(readServerConnections(postgres)),
        orNothing(readRedisConnections(redis)),
      ]);
      return reportOf(
        size,
        { ...postgres.stats(), oldestCheckout: postgres.oldestCheckout() },
        server,
        cache,
      );
    },
  };
};

const ADVICE =
  'Lower PG_POOL_SIZE, PG_MAX_OVERFLOW, EXPECTED_REPLICAS or REPLICA_SURGE, or raise max_connections.';

const reportOf = (
  size: FleetSize,
  pool: Parameters<typeof diagnoseConnections>[0]['pool'],
  postgres: Parameters<typeof diagnoseConnections>[0]['postgres'],
  redis: Parameters<typeof diagnoseConnections>[0]['redis'],
) => {
  const budget = postgres && connectionBudget(size, postgres);
  return { findings: diagnoseConnections({ pool, budget, postgres, redis }), pool, budget, postgres, redis };
};
