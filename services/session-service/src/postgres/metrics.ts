import type { Metrics } from '@muster/kit/metrics';
import { sqlState } from './errors.ts';

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
  const duration = metrics.histogram('db_client_operation_duration_seconds');
  const wait = metrics.histogram('db_client_connection_wait_seconds').with({ pool });
  const timeouts = metrics.counter('db_client_connection_timeouts_total').with({ pool });
  const errors = metrics.counter('db_client_connection_errors_total');
  const readOnly = metrics.counter('db_client_read_only_rejections_total').with({});
  const primary = metrics.gauge('db_client_primary').with({});
  const leaks = metrics.counter('db_client_checkout_leaks_total').with({});
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

const reportPool = (metrics: Metrics, pool: 'main', stats: () => PoolStats): void => {
  const connections = metrics.gauge('db_client_connections');
  const limit = metrics.gauge('db_client_connections_max');
  const pending = metrics.gauge('db_client_connections_pending');
  metrics.onCollect(() => {
    const { total, idle, waiting, max } = stats();
    connections.set({ pool, state: 'idle' }, idle);
    connections.set({ pool, state: 'used' }, total - idle);
    limit.set({ pool }, max);
    pending.set({ pool }, waiting);
  });
};
