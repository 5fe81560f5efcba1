import { atMost, counter, gauge, histogram, MICRO, STD } from './metric.ts';

const POOL = ['main'] as const;
const CLIENT = atMost(12, 'connections are opened by purpose, and their number is capped');
const pool = { row: 'Postgres: pool' };
const statements = { row: 'Postgres: statements' };
const redis = { row: 'Redis' };

/** The Postgres connection pool, named by the conventions of OpenTelemetry. */
export const POSTGRES = {
  db_client_connections: gauge('Connections of the pool.', {
    labels: { pool: POOL, state: ['idle', 'used'] },
    panel: { ...pool, by: ['state'], as: 'sum' },
  }),
  db_client_connections_max: gauge('Limit of connections of the pool.', {
    labels: { pool: POOL },
    panel: { ...pool, as: 'sum' },
  }),
  db_client_connections_pending: gauge('Requests waiting for a connection.', {
    labels: { pool: POOL },
    panel: { ...pool, by: ['instance'], as: 'max' },
  }),
  db_client_connection_wait_seconds: histogram('Duration of the wait for a connection.', {
    labels: { pool: POOL },
    buckets: STD,
    panel: pool,
  }),
  db_client_connection_timeouts_total: counter('Requests without a connection before the timeout.', {
    labels: { pool: POOL },
    zero: true,
    panel: pool,
  }),
  db_client_connection_errors_total: counter('Failed statements by class of the SQLSTATE.', {
    labels: { pool: POOL, sqlstate_class: atMost(25, 'classes of SQLSTATE that an application can meet') },
    panel: { ...statements, by: ['sqlstate_class'] },
  }),
  db_client_operation_duration_seconds: histogram('Duration of statements by name.', {
    labels: { operation: atMost(45, 'statements have names') },
    buckets: STD,
    panel: { ...statements, by: ['operation'] },
  }),
  db_client_read_only_rejections_total: counter('Writes refused because the server is read-only.', {
    zero: true,
    panel: statements,
  }),
  db_client_primary: gauge('1 while the server accepts writes.', {
    panel: { ...statements, by: ['instance'], as: 'max' },
  }),
  db_client_checkout_leaks_total: counter('Connections held for longer than ten seconds.', {
    zero: true,
    panel: pool,
  }),
} as const;

/** The connections to Redis. */
export const REDIS = {
  redis_client_status: gauge('Connections by state.', {
    labels: { client: CLIENT, status: ['ready', 'connecting', 'reconnecting', 'end'] },
    // A connection is in one state at a time.
    combinations: 12,
    panel: { ...redis, by: ['client', 'status'], as: 'sum' },
  }),
  redis_client_pending_commands: gauge('Commands in flight.', {
    labels: { client: CLIENT },
    panel: { ...redis, by: ['client'], as: 'max' },
  }),
  redis_client_offline_queue_length: gauge('Commands in the offline queue.', {
    labels: { client: CLIENT },
    panel: { ...redis, by: ['client'], as: 'max' },
  }),
  redis_client_reconnects_total: counter('Reconnection attempts.', {
    labels: { client: CLIENT },
    panel: { ...redis, by: ['client'] },
  }),
  redis_client_failovers_total: counter('Connections closed because the server is a replica.', {
    zero: true,
    panel: redis,
  }),
  redis_client_command_duration_seconds: histogram('Duration of commands.', {
    labels: { client: CLIENT, command: atMost(21, 'commands are those of a list, and `other`') },
    buckets: MICRO,
    // A connection of one purpose uses few commands.
    combinations: 60,
    panel: { ...redis, by: ['command'] },
  }),
  redis_client_command_errors_total: counter('Failed commands by reason.', {
    labels: {
      client: CLIENT,
      reason: ['timeout', 'readonly', 'moved', 'oom', 'permission', 'noscript', 'connection', 'other'],
    },
    panel: { ...redis, by: ['reason'] },
  }),
} as const;
