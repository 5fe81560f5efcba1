import type { Metrics } from '@muster/kit/metrics';
import type { PoolStats } from '../core/database-connections.ts';
import { sqlState } from './errors.ts';

/** The instruments of one pool. */
export type PostgresMetrics = ReturnType<typeof createPostgresMetrics>;

/** Registers the instruments of the main pool, named by OpenTelemetry's database conventions. */
export const createPostgresMetrics = (metrics: Metrics, stats: () => PoolStats) => {
  const pool = 'main';
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
  const duration = metrics.histogram('db_client_operation_duration_seconds');
  const wait = metrics.histogram('db_client_connection_wait_seconds').with({ pool });
  const timeouts = metrics.counter('db_client_connection_timeouts_total').with({ pool });
  const errors = metrics.counter('db_client_connection_errors_total');
  const readOnly = metrics.counter('db_client_read_only_rejections_total').with({});
  const primary = metrics.gauge('db_client_primary').with({});
  const leaks = metrics.counter('db_client_checkout_leaks_total').with({});
  return {
    /** Starts the timer of a named statement; call the result when it settles, with the error if it rejected. */
    statement: (operation: string): ((error?: unknown) => void) => {
      const startedAt = performance.now();
      return (error) => {
        duration.observe({ operation }, (performance.now() - startedAt) / 1000);
        if (error === undefined) return;
        const code = sqlState(error);
        errors.inc({
          pool,
          sqlstate_class: code !== undefined && SQLSTATE.test(code) ? code.slice(0, 2) : 'none',
        });
        if (code === READ_ONLY) readOnly.inc();
      };
    },
    waited: (seconds: number): void => wait.observe(seconds),
    timedOut: (): void => timeouts.inc(),
    leaked: (): void => leaks.inc(),
    primary: (isWritable: boolean): void => primary.set(isWritable ? 1 : 0),
  };
};

const SQLSTATE = /^[0-9A-Z]{5}$/;
const READ_ONLY = '25006';
