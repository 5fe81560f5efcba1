import { sleep, within } from '@muster/kit/clock';
import type { Logger } from '@muster/kit/logger';
import type { Metrics } from '@muster/kit/metrics';
import { Client, type ClientConfig, Pool, type PoolClient, type PoolConfig } from 'pg';
import type { PostgresConfig } from '../config-postgres.ts';
import type { PoolStats } from '../core/database-connections.ts';
import { createLeakDetector } from './connection-leak-detection.ts';
import { isConnectionFault, sqlState, translateFault } from './errors.ts';
import { createPostgresMetrics, type PostgresMetrics } from './metrics.ts';

/** Executes named, prepared statements. `name` is from a closed set: it labels a metric. */
export interface Queryable {
  query<R extends object = Record<string, unknown>>(
    name: string,
    text: string,
    values?: readonly unknown[],
  ): Promise<R[]>;
  /**
   * Executes a statement that changes data; outside of a transaction, in its own. A server that hung executes what it
   * received, but COMMIT is sent only while the caller waits: a change that failed with a fault is not applied later.
   */
  write<R extends object = Record<string, unknown>>(
    name: string,
    text: string,
    values?: readonly unknown[],
  ): Promise<R[]>;
}

/** A transaction on one connection. */
export type Transaction = Queryable;

/** A pool of database connections: `poolSize` stay open, `maxOverflow` more serve bursts. */
export interface Postgres extends Queryable, AsyncDisposable {
  /** Commits when `run` resolves, else rolls back; retried at most twice after a serialization failure or deadlock. */
  transaction<T>(run: (tx: Transaction) => Promise<T>): Promise<T>;
  /** Resolves when a writable primary responds on a reserved connection and grants all `required` privileges. */
  ping(required?: readonly Privilege[]): Promise<void>;
  stats(): PoolStats;
  /** The oldest checkout and the code that holds it. */
  oldestCheckout(): { readonly ageMs: number; readonly holder: string } | undefined;
}

/** A privilege of the account on a table. */
export interface Privilege {
  readonly table: string;
  readonly privilege: 'SELECT' | 'INSERT' | 'UPDATE' | 'DELETE';
}

interface PingRow {
  readonly read_only: boolean;
  readonly timeout: string;
  /** Required privileges that are not granted, as text. */
  readonly missing: string | null;
}

/** On a writable primary with all privileges `read_only` is false and `missing` is null. $1 tables, $2 one privilege for each. */
const PING = `SELECT pg_is_in_recovery() OR current_setting('transaction_read_only') = 'on' AS read_only,
  current_setting('statement_timeout') AS timeout,
  (SELECT string_agg(privilege || ' on ' || "table", ', ') FROM unnest($1::text[], $2::text[]) AS needed("table", privilege)
    WHERE NOT has_table_privilege("table", privilege)) AS missing`;

interface PostgresDeps {
  readonly log: Logger;
  readonly metrics: Metrics;
  /** Ages at which a checkout is reported and cut, in ms; default 10,000 and 60,000. */
  readonly leaks?: { readonly warnMs?: number; readonly cutMs?: number };
}

const CONNECT_TIMEOUT_MS = 5_000;
const ACQUIRE_TIMEOUT_MS = 2_000;
const STATEMENT_TIMEOUT_MS = 5_000;
/** Longest wait for the result of a statement; longer than the limit of the server, so it applies to dead connections. */
export const ANSWER_TIMEOUT_MS = STATEMENT_TIMEOUT_MS + 1_000;
const MAX_RETRIES = 2;
const RETRYABLE = new Set(['40001', '40P01']);

/**
 * Opens the pools without connecting, so it works while Postgres is unavailable. Faults of the database reject with
 * `DATABASE_UNAVAILABLE` (503), a pool without a free connection within 2 s with `OVERLOADED` (503); values that cannot
 * be stored with 422, duplicates with `CONFLICT` (409).
 */
export const openPostgres = (
  config: PostgresConfig & { readonly applicationName: string },
  { log, metrics, leaks = {} }: PostgresDeps,
): Postgres => {
  const main = new Pool({
    ...baseOptions(config),
    max: config.poolSize + config.maxOverflow,
    min: config.poolSize,
    connectionTimeoutMillis: config.poolTimeoutMs,
    Client: BoundedClient,
  });
  const probe = new Pool({ ...baseOptions(config), max: 1, connectionTimeoutMillis: 1_000 });
  // A broken idle connection is replaced on the next use; without a listener its error would end the process.
  // The pool listens only to idle connections, so each connection gets a listener for the time of its use.
  for (const pool of [main, probe]) {
    pool.on('error', (error) => log.debug({ error }, 'postgres.idle_connection_lost'));
    pool.on('connect', (client) => client.on('error', () => {}));
  }
  const stats = () => ({
    total: main.totalCount,
    idle: main.idleCount,
    waiting: main.waitingCount,
    max: config.poolSize + config.maxOverflow,
  });
  const instruments = createPostgresMetrics(metrics, stats);
  const checkouts = createLeakDetector({ log, onLeak: instruments.leaked, ...leaks });

  /** Runs with a connection, which is destroyed after a connection fault. */
  const withClient = async <T>(run: (client: PoolClient) => Promise<T>): Promise<T> => {
    const client = await acquire(main, instruments);
    const release = once((destroy: boolean) => client.release(destroy));
    // The pool destroys the connection: the server rolls back, and the pool can open another.
    const untrack = checkouts.track(() => release(true));
    let isBroken = false;
    try {
      return await run(client);
    } catch (error) {
      isBroken = isConnectionFault(error);
      throw error;
    } finally {
      untrack();
      release(isBroken);
    }
  };
  const queryableOf = (client: PoolClient): Queryable => {
    const query: Queryable['query'] = async (name, text, values = []) => {
      const done = instruments.statement(name);
      try {
        // A statement without a name is not kept by the server.
        const named = config.preparedStatements ? { name } : {};
        const { rows } = await client.query({ ...named, text, values: [...values] });
        done();
        return rows;
      } catch (error) {
        done(error);
        throw error;
      }
    };
    return { query, write: query };
  };
  const attempt = <T>(run: (tx: Transaction) => Promise<T>): Promise<T> =>
    withClient(async (client) => {
      await client.query('BEGIN');
      try {
        const result = await run(queryableOf(client));
        await client.query('COMMIT');
        return result;
      } catch (error) {
        if (!isConnectionFault(error)) await client.query('ROLLBACK');
        throw error;
      }
    });

  const transaction: Postgres['transaction'] = (run) => translated(() => retried(() => attempt(run)));

  return {
    query: (name, text, values) =>
      translated(() => withClient((client) => queryableOf(client).query(name, text, values))),
    write: (name, text, values) => transaction((tx) => tx.query(name, text, values)),
    transaction,
    ping: createPing(probe, { instruments, log }),
    stats,
    oldestCheckout: checkouts.oldest,
    [Symbol.asyncDispose]: async () => {
      checkouts[Symbol.dispose]();
      await Promise.allSettled([main.ended ? undefined : main.end(), probe.ended ? undefined : probe.end()]);
    },
  };
};

const createPing = (
  probe: Pool,
  { instruments, log }: { instruments: PostgresMetrics; log: Logger },
): Postgres['ping'] => {
  let hasWarned = false;
  return async (required = []) => {
    const values = [required.map(({ table }) => table), required.map(({ privilege }) => privilege)];
    const [row] = (await probe.query<PingRow>(PING, values)).rows;
    // A pooler may drop the start-up parameters; then the role needs the statement timeout.
    if (row?.timeout === '0' && !hasWarned) {
      hasWarned = true;
      log.warn(
        { remedy: "ALTER ROLE … SET statement_timeout = '5s'; see docs/operations/stores.md" },
        'postgres.no_statement_timeout',
      );
    }
    instruments.primary(row?.read_only === false);
    if (row?.read_only !== false) throw new Error('the database is read-only');
    if (row.missing !== null) throw new MissingPrivilegeError(row.missing);
  };
};

/** The account lacks a required privilege. The code is that of Postgres for such a statement. */
class MissingPrivilegeError extends Error {
  readonly code = '42501';

  constructor(missing: string) {
    super(`permission denied: the account lacks ${missing}`);
  }
}

/** Ignores calls after the first: a connection that was cut is released again by its holder. */
const once = <A extends unknown[]>(run: (...args: A) => void): ((...args: A) => void) => {
  let isDone = false;
  return (...args) => {
    if (isDone) return;
    isDone = true;
    run(...args);
  };
};

/** Limits a connection attempt to 5 s: the pool has only one limit for waiting and connecting together. */
class BoundedClient extends Client {
  constructor(config: ClientConfig = {}) {
    const waitMs = config.connectionTimeoutMillis || CONNECT_TIMEOUT_MS;
    super({ ...config, connectionTimeoutMillis: Math.min(waitMs, CONNECT_TIMEOUT_MS) });
  }
}

const baseOptions = (config: PostgresConfig & { applicationName: string }): PoolConfig => ({
  connectionString: config.url,
  application_name: config.applicationName,
  keepAlive: true,
  idleTimeoutMillis: 10_000,
  maxLifetimeSeconds: 1_800,
  statement_timeout: STATEMENT_TIMEOUT_MS,
  lock_timeout: 2_000,
  idle_in_transaction_session_timeout: 10_000,
  query_timeout: ANSWER_TIMEOUT_MS,
});

/** Waits at most 2 s for a connection; one that arrives later is released at once. */
const acquire = async (pool: Pool, instruments: PostgresMetrics): Promise<PoolClient> => {
  const startedAt = performance.now();
  const checkout = pool.connect();
  try {
    const client = await within(ACQUIRE_TIMEOUT_MS, 'waiting for a database connection', checkout);
    instruments.waited((performance.now() - startedAt) / 1000);
    return client;
  } catch (error) {
    instruments.timedOut();
    checkout.then((client) => client.release()).catch(() => {});
    throw error;
  }
};

const retried = async <T>(run: () => Promise<T>): Promise<T> => {
  for (let tries = 0; ; tries += 1) {
    try {
      return await run();
    } catch (error) {
      if (tries === MAX_RETRIES || !RETRYABLE.has(sqlState(error) ?? '')) throw error;
      await sleep(10 + Math.random() * 40);
    }
  }
};

const translated = async <T>(run: () => Promise<T>): Promise<T> => {
  try {
    return await run();
  } catch (error) {
    throw translateFault(error);
  }
};
