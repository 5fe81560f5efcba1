import { type Metrics, STD } from './metrics.ts';
import { sqlState } from './postgres-faults.ts';

/** A pool's numbers at one moment. */
export interface PoolStats {
  readonly total: number;
  readonly idle: number;
  readonly waiting: number;
  readonly max: number;
}

/** What is counted about one pool. */
export interface PostgresMeasures {
  /** Starts a clock for a named statement; call the result when it has ended, with what it threw if it did. */
  statement(operation: string): (error?: unknown) => void;
  waited(seconds: number): void;
  timedOut(): void;
  leaked(): void;
  primary(isWritable: boolean): void;
}

/** Instruments of the main pool (ops names of OpenTelemetry's database conventions). */
export const createPostgresMeasures = (metrics: Metrics, stats: () => PoolStats): PostgresMeasures => {
  const pool = 'main';
  reportPool(metrics, pool, stats);
  const duration = metrics.histogram({
    name: 'db_client_operation_duration_seconds',
    help: 'Duration of statements by name.',
    labels: ['operation'],
    buckets: STD,
  });
  const wait = metrics
    .histogram({
      name: 'db_client_connection_wait_seconds',
      help: 'Wait for a connection.',
      labels: ['pool'],
      buckets: STD,
    })
    .with({ pool });
  const timeouts = metrics
    .counter({
      name: 'db_client_connection_timeouts_total',
      help: 'Requests that got no connection in time.',
      labels: ['pool'],
    })
    .with({ pool });
  const errors = metrics.counter({
    name: 'db_client_connection_errors_total',
    help: 'Statements that failed, by the class of their SQLSTATE.',
    labels: ['pool', 'sqlstate_class'],
  });
  const readOnly = metrics
    .counter({
      name: 'db_client_read_only_rejections_total',
      help: 'Writes refused by a server that had become a standby.',
    })
    .with({});
  const primary = metrics
    .gauge({ name: 'db_client_primary', help: '1 while the server accepts writes.' })
    .with({});
  const leaks = metrics
    .counter({
      name: 'db_client_checkout_leaks_total',
      help: 'Connections held for longer than ten seconds.',
    })
    .with({});
  return {
    statement: (operation) => {
      const begun = performance.now();
      return (error) => {
        duration.observe({ operation }, (performance.now() - begun) / 1000);
        if (error === undefined) return;
        const code = sqlState(error);
        errors.inc({
          pool,
          sqlstate_class: code !== undefined && SQLSTATE.test(code) ? code.slice(0, 2) : 'none',
        });
        if (code === READ_ONLY) readOnly.inc();
      };
    },
    waited: (seconds) => wait.observe(seconds),
    timedOut: () => timeouts.inc(),
    leaked: () => leaks.inc(),
    primary: (isWritable) => primary.set(isWritable ? 1 : 0),
  };
};

const SQLSTATE = /^[0-9A-Z]{5}$/;
const READ_ONLY = '25006';

const reportPool = (metrics: Metrics, pool: string, stats: () => PoolStats): void => {
  const connections = metrics.gauge({
    name: 'db_client_connections',
    help: 'Connections of the pool.',
    labels: ['pool', 'state'],
  });
  const limit = metrics.gauge({
    name: 'db_client_connections_max',
    help: 'Most connections of the pool.',
    labels: ['pool'],
  });
  const pending = metrics.gauge({
    name: 'db_client_connections_pending',
    help: 'Requests that wait for a connection.',
    labels: ['pool'],
  });
  metrics.onCollect(() => {
    const { total, idle, waiting, max } = stats();
    connections.set({ pool, state: 'idle' }, idle);
    connections.set({ pool, state: 'used' }, total - idle);
    limit.set({ pool }, max);
    pending.set({ pool }, waiting);
  });
};
