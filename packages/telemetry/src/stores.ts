import { atMost, counter, gauge, histogram, MICRO, STD } from './metric.ts';

const POOL = ['main'] as const;
const CLIENT = atMost(12, 'connections are opened by purpose, and their number is capped');
const pool = { row: 'Postgres: pool' };
const statements = { row: 'Postgres: statements' };
const redis = { row: 'Redis' };

/** The pool of connections to Postgres; names of OpenTelemetry's conventions. */
export const POSTGRES = {
  db_client_connections: gauge('Connections of the pool.', {
    labels: { pool: POOL, state: ['idle', 'used'] },
    panel: { ...pool, by: ['state'], as: 'sum' },
  }),
  db_client_connections_max: gauge('Most connections of the pool.', {
    labels: { pool: POOL },
    panel: { ...pool, as: 'sum' },
  }),
  db_client_connections_pending: gauge('Requests that wait for a connection.', {
    labels: { pool: POOL },
    panel: { ...pool, by: ['instance'], as: 'max' },
  }),
  db_client_connection_wait_seconds: histogram('Wait for a connection.', {
    labels: { pool: POOL },
    buckets: STD,
    panel: pool,
  }),
  db_client_connection_timeouts_total: counter('Requests that got no connection in time.', {
    labels: { pool: POOL },
    zero: true,
    panel: pool,
  }),
  db_client_connection_errors_total: counter('Statements that failed, by the class of their SQLSTATE.', {
    labels: { pool: POOL, sqlstate_class: atMost(25, 'classes of SQLSTATE that an application can meet') },
    panel: { ...statements, by: ['sqlstate_class'] },
  }),
  db_client_operation_duration_seconds: histogram('Duration of statements by name.', {
    labels: { operation: atMost(45, 'statements have names, and there are that many') },
    buckets: STD,
    panel: { ...statements, by: ['operation'] },
  }),
  db_client_read_only_rejections_total: counter('Writes refused by a server that had become a standby.', {
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
  redis_client_pending_commands: gauge('Commands sent and not answered yet.', {
    labels: { client: CLIENT },
    panel: { ...redis, by: ['client'], as: 'max' },
  }),
  redis_client_offline_queue_length: gauge('Commands that wait for a connection.', {
    labels: { client: CLIENT },
    panel: { ...redis, by: ['client'], as: 'max' },
  }),
  redis_client_reconnects_total: counter('Connections lost and tried again.', {
    labels: { client: CLIENT },
    panel: { ...redis, by: ['client'] },
  }),
  redis_client_failovers_total: counter('Connections left because the server had become a replica.', {
    zero: true,
    panel: redis,
  }),
  redis_client_command_duration_seconds: histogram('Time from a command to its answer.', {
    labels: { client: CLIENT, command: atMost(21, 'commands are those of a list, and `other`') },
    buckets: MICRO,
    // A connection of a purpose sends few kinds of commands.
    combinations: 60,
    panel: { ...redis, by: ['command'] },
  }),
  redis_client_command_errors_total: counter('Commands that failed, by reason.', {
    labels: {
      client: CLIENT,
      reason: ['timeout', 'readonly', 'moved', 'oom', 'permission', 'noscript', 'connection', 'other'],
    },
    panel: { ...redis, by: ['reason'] },
  }),
} as const;
