import { ConfigError } from '@muster/kit/config';
import type { Logger } from '@muster/kit/logger';
import type { RedisConnections } from '@muster/kit/redis/connection';
import type { SessionServiceConfig } from '../config.ts';
import {
  connectionBudget,
  diagnoseConnections,
  type FleetSize,
  type RedisConnectionUsage,
  type ServerConnections,
} from '../core/database-connections.ts';
import type { Postgres, Queryable } from './pool.ts';

interface ConnectionReporterDeps {
  readonly postgres: Postgres;
  readonly redis: RedisConnections;
  readonly log: Logger;
  readonly config: Pick<SessionServiceConfig, 'fleet' | 'postgres'>;
}

/** The database connections of this replica, of Postgres and of Redis, with findings. */
export type ConnectionReport = Awaited<ReturnType<ReturnType<typeof createConnectionReporter>['report']>>;

const REMEDY = 'Lower PG_POOL_SIZE, PG_MAX_OVERFLOW, EXPECTED_REPLICAS or REPLICA_SURGE, or raise max_connections.';

/** Reads the usage from both servers; a server that does not answer is left undefined in the report. */
export const createConnectionReporter = ({ postgres, redis, log, config }: ConnectionReporterDeps) => {
  const { poolSize, maxOverflow } = config.postgres;
  const size: FleetSize = { ...config.fleet, poolSize, maxOverflow };
  const orUndefined = async <T>(work: Promise<T>): Promise<T | undefined> => {
    try {
      return await work;
    } catch (error) {
      log.debug({ error }, 'database.connection_count_failed');
      return undefined;
    }
  };
  return {
    /** Throws {@link ConfigError} with the sum when the fleet may need more connections than Postgres grants; passes while Postgres is unavailable. */
    requireBudget: async (): Promise<void> => {
      const server = await orUndefined(readServerConnections(postgres));
      if (server === undefined) return;
      const { fits, sum } = connectionBudget(size, server);
      if (!fits) throw new ConfigError(`Too many database connections for this server: ${sum}. ${REMEDY}`);
      log.info({ sum }, 'database.connection_budget');
    },
    report: async () => {
      const pool = { ...postgres.stats(), oldestCheckout: postgres.oldestCheckout() };
      const [server, cache] = await Promise.all([
        orUndefined(readServerConnections(postgres)),
        orUndefined(readRedisConnections(redis)),
      ]);
      const budget = server && connectionBudget(size, server);
      const usage = { pool, budget, postgres: server, redis: cache };
      return { findings: diagnoseConnections(usage), ...usage };
    },
  };
};

const LIMITS = `SELECT current_setting('max_connections')::int AS max,
  current_setting('superuser_reserved_connections')::int + coalesce(current_setting('reserved_connections', true)::int, 0) AS reserved`;
const CLIENTS = `SELECT coalesce(application_name, '') AS application, coalesce(state, 'unknown') AS state, count(*)::int AS count,
    greatest(0, coalesce(extract(epoch FROM max(now() - state_change)), 0))::float8 AS "oldestS"
  FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()
  GROUP BY 1, 2 ORDER BY count DESC, application LIMIT 50`;

/** Connections to Postgres by program and state. Rejects with a 503 code. */
const readServerConnections = async (db: Queryable): Promise<ServerConnections> => {
  const [limits] = await db.query<{ max: number; reserved: number }>('connection_limits', LIMITS);
  const clients = await db.query<ServerConnections['clients'][number]>('connection_clients', CLIENTS);
  return { maxConnections: limits?.max ?? 0, reserved: limits?.reserved ?? 0, clients };
};

const readRedisConnections = async (redis: RedisConnections): Promise<RedisConnectionUsage> => {
  const info = await redis.retry((lane) => lane.info('clients', 'stats'));
  const number = (name: string): number => Number(new RegExp(`^${name}:(\\d+)`, 'm').exec(info)?.[1] ?? 0);
  return {
    connected: number('connected_clients'),
    maxClients: number('maxclients'),
    rejected: number('rejected_connections'),
  };
};
