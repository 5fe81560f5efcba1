import type { RedisConnections } from '@muster/kit/redis/connection';
import type { RedisConnectionUsage, ServerConnections } from '../core/database-connections.ts';
import type { Queryable } from './pool.ts';

const LIMITS = `SELECT current_setting('max_connections')::int AS max,
  current_setting('superuser_reserved_connections')::int + coalesce(current_setting('reserved_connections', true)::int, 0) AS reserved`;
const CLIENTS = `SELECT coalesce(application_name, '') AS application, coalesce(state, 'unknown') AS state, count(*)::int AS count,
    greatest(0, coalesce(extract(epoch FROM max(now() - state_change)), 0))::float8 AS oldest
  FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()
  GROUP BY 1, 2 ORDER BY count DESC, application LIMIT 50`;

/** Who is connected to Postgres, by program and state. Rejects with a 503 code when it cannot be asked. */
export const readServerConnections = async (db: Queryable): Promise<ServerConnections> => {
  const [limits] = await db.query<{ max: number; reserved: number }>('connection_limits', LIMITS);
  const rows = await db.query<{ application: string; state: string; count: number; oldest: number }>(
    'connection_clients',
    CLIENTS,
  );
  return {
    maxConnections: limits?.max ?? 0,
    reserved: limits?.reserved ?? 0,
    clients: rows.map(({ application, state, count, oldest }) => ({
      application,
      state,
      count,
      oldestS: oldest,
    })),
  };
};

/** How full Redis is. */
export const readRedisConnections = async (redis: RedisConnections): Promise<RedisConnectionUsage> => {
  const info = await redis.retry((lane) => lane.info('clients', 'stats'));
  const number = (name: string): number => Number(new RegExp(`^${name}:(\\d+)`, 'm').exec(info)?.[1] ?? 0);
  return {
    connected: number('connected_clients'),
    maxClients: number('maxclients'),
    rejected: number('rejected_connections'),
  };
};
