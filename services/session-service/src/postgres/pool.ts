import { sleep, within } from '@muster/kit/clock';
import type { PostgresConfig } from '@muster/kit/config';
import type { Logger } from '@muster/kit/logger';
import type { Metrics } from '@muster/kit/metrics';
import { Client, type ClientConfig, Pool, type PoolClient, type PoolConfig } from 'pg';
import { isConnectionFault, sqlState, translateFault } from './errors.ts';
import { createLeakDetector } from './leak-detection.ts';
import { createPostgresMeasures, type PoolStats, type PostgresMeasures } from './metrics.ts';

/** Runs named, prepared statements. `name` is a closed set: it labels a metric. */
export interface Queryable {
  query<R extends object = Record<string, unknown>>(
    name: string,
    text: string,
    values?: readonly unknown[],
  ): Promise<R[]>;
  /**
   * The same for a statement that changes something. Outside of a transaction it gets one of its own: a server that
   * hung executes what was sent to it, and a COMMIT is sent only while the caller still waits. So a change that was
   * answered with a fault is not made later.
   */
  write<R extends object = Record<string, unknown>>(
    name: string,
    text: string,
    values?: readonly unknown[],
  ): Promise<R[]>;
}

/** A transaction on one connection. */
export type Transaction = Queryable;

/** Connections to Postgres: `poolSize` stay open, `maxOverflow` more serve bursts. */
export interface Postgres extends Queryable, AsyncDisposable {
  /** Commits when `run` resolves, else rolls back; repeated at most twice after a serialisation failure or deadlock. */
  transaction<T>(run: (tx: Transaction) => Promise<T>): Promise<T>;
  /** Resolves when a writable primary answers on a connection reserved for this, and grants all of `needs`. */
  ping(needs?: readonly Privilege[]): Promise<void>;
  stats(): PoolStats;
  /** The connection that has been held the longest, and who holds it. */
  oldestCheckout(): { readonly ageMs: number; readonly holder: string } | undefined;
}

/** What an account must be allowed to do with a table. */
export interface Privilege {
  readonly table: string;
  readonly privilege: 'SELECT' | 'INSERT' | 'UPDATE' | 'DELETE';
}

interface PingRow {
  readonly read_only: boolean;
  readonly timeout: string;
  /** Privileges that are needed and not granted. */
  readonly missing: string | null;
}

/** Of a writable primary with all privileges: `read_only` is false and `missing` null. $1 tables, $2 a privilege for each. */
const PING = `SELECT pg_is_in_recovery() OR current_setting('transaction_read_only') = 'on' AS read_only,
  current_setting('statement_timeout') AS timeout,
  (SELECT string_agg(privilege || ' on ' || "table", ', ') FROM unnest($1::text[], $2::text[]) AS needed("table", privilege)
    WHERE NOT has_table_privilege("table", privilege)) AS missing`;

/** What the pools are opened with. */
export interface PostgresDeps {
  readonly log: Logger;
  readonly metrics: Metrics;
  /** When a connection that is held is reported and cut, in ms; default 10,000 and 60,000. */
  readonly leaks?: { readonly warnMs?: number; readonly cutMs?: number };
}

const CONNECT_TIMEOUT_MS = 5_000;
const ACQUIRE_TIMEOUT_MS = 2_000;
const STATEMENT_TIMEOUT_MS = 5_000;
/** Longest wait for the answer to a statement. Beyond the limit of the server: only a dead connection gets here. */
export const ANSWER_TIMEOUT_MS = STATEMENT_TIMEOUT_MS + 1_000;
const MAX_RETRIES = 2;
const RETRYABLE = new Set(['40001', '40P01']);

/**
 * Opens the pools; no connection is made yet, so it works while Postgres is away.
 * Faults of the database reject with `DATABASE_UNAVAILABLE` (503), a pool without a free connection within 2 s
 * with `OVERLOADED` (503); every other error of the driver passes through.
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
  // An idle connection that breaks is replaced on the next use; without a listener it would end the process.
  // The pool listens only while a connection lies idle, so each one gets a listener for the time it is in use.
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
  const measures = createPostgresMeasures(metrics, stats);
  const checkouts = createLeakDetector({ log, onLeak: measures.leaked, ...leaks });

  /** Destroys the connection when the error says that it cannot be trusted any more. */
  const withClient = async <T>(run: (client: PoolClient) => Promise<T>): Promise<T> => {
    const client = await acquire(main, measures);
    const release = once((isBroken: boolean) => client.release(isBroken));
    // The pool destroys it: the transaction ends at the server, and its place is free for others.
    const untrack = checkouts.track(() => release(true));
    let broken = false;
    try {
      return await run(client);
    } catch (error) {
      broken = isConnectionFault(error);
      throw error;
    } finally {
      untrack();
      release(broken);
    }
  };
  const queriesOf = (client: PoolClient): Queryable => {
    const query: Queryable['query'] = async (name, text, values = []) => {
      const done = measures.statement(name);
      try {
        // Without a name the statement is parsed, used and forgotten in one round trip.
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
        const result = await run(queriesOf(client));
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
      translated(() => withClient((client) => queriesOf(client).query(name, text, values))),
    write: (name, text, values) => transaction((tx) => tx.query(name, text, values)),
    transaction,
    ping: createPing(probe, { measures, log }),
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
  { measures, log }: { measures: PostgresMeasures; log: Logger },
): Postgres['ping'] => {
  const warnUnbounded = unboundedWarning(log);
  return async (needs = []) => {
    const values = [needs.map(({ table }) => table), needs.map(({ privilege }) => privilege)];
    const [row] = (await probe.query<PingRow>(PING, values)).rows;
    warnUnbounded(row?.timeout);
    measures.primary(row?.read_only === false);
    if (row?.read_only !== false) throw new Error('the database is read-only');
    if (row.missing !== null) throw new MissingPrivilegeError(row.missing);
  };
};

/** A pooler may drop the limits that we send at start-up: then the role must have them. Warns once. */
const unboundedWarning = (log: Logger): ((statementTimeout: unknown) => void) => {
  let warned = false;
  return (statementTimeout) => {
    if (warned || statementTimeout !== '0') return;
    warned = true;
    log.warn(
      { remedy: "ALTER ROLE … SET statement_timeout = '5s'; see docs/operations/stores.md" },
      'postgres.no_statement_timeout',
    );
  };
};

/** The account may connect and may not do what is needed. Its code is that of Postgres for such a statement. */
class MissingPrivilegeError extends Error {
  readonly code = '42501';

  constructor(missing: string) {
    super(`permission denied: the account lacks ${missing}`);
  }
}

/** A connection that was cut comes back a second time, when its holder gives up. */
const once = <A extends unknown[]>(run: (...args: A) => void): ((...args: A) => void) => {
  let isDone = false;
  return (...args) => {
    if (isDone) return;
    isDone = true;
    run(...args);
  };
};

/** The pool has one limit for waiting and connecting; an attempt that nothing answers must not keep its place for as long. */
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

/** A request does not wait as long as the pool would: a client that comes too late goes straight back. */
const acquire = async (pool: Pool, measures: PostgresMeasures): Promise<PoolClient> => {
  const begun = performance.now();
  const checkout = pool.connect();
  try {
    const client = await within(ACQUIRE_TIMEOUT_MS, 'waiting for a database connection', checkout);
    measures.waited((performance.now() - begun) / 1000);
    return client;
  } catch (error) {
    measures.timedOut();
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
