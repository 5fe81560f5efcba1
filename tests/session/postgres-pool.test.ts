import { dependencyFaultOf } from '@muster/kit/dependency-faults';
import { createMetrics } from '@muster/kit/metrics';
import { openPostgres, type Postgres } from '@muster/session-service/postgres/pool';
import { createInMemoryLog } from '@muster/testkit/in-memory-log';
import { testStores } from '@muster/testkit/stores';
import { until } from '@muster/testkit/wait';
import { afterAll, beforeAll, expect, test } from 'vitest';

let stack: AsyncDisposableStack;
let url = '';

beforeAll(async () => {
  stack = new AsyncDisposableStack();
  const stores = stack.use(await testStores());
  url = stores.databaseUrl;
  await using postgres = open();
  await postgres.query('make', 'CREATE TABLE IF NOT EXISTS notes (text text NOT NULL)');
});
afterAll(() => stack.disposeAsync());

const open = ({
  leaks = {},
  ...pool
}: {
  poolSize?: number;
  maxOverflow?: number;
  url?: string;
  leaks?: { warnMs?: number; cutMs?: number };
} = {}): Postgres =>
  openPostgres(
    {
      url,
      poolSize: 1,
      maxOverflow: 1,
      poolTimeoutMs: 30_000,
      preparedStatements: true,
      applicationName: 'kit-test',
      ...pool,
    },
    { log: createInMemoryLog(), metrics: createMetrics({ service: 'test', version: '0' }), leaks },
  );

/** Holds a connection until it is let go. */
const holdOne = (postgres: Postgres) => {
  const free = Promise.withResolvers<void>();
  const held = Promise.withResolvers<void>();
  const done = postgres.transaction(async (tx) => {
    await tx.query('one', 'SELECT 1');
    held.resolve();
    await free.promise;
  });
  return {
    held: held.promise,
    letGo: () => {
      free.resolve();
      return done;
    },
  };
};

test('[DB2] [DB3] [DB12] given an exhausted pool, the result is overloaded after two seconds, without a leak', async () => {
  await using postgres = open();
  const holders = [holdOne(postgres), holdOne(postgres)];
  await Promise.all(holders.map(({ held }) => held));
  expect(postgres.stats()).toMatchObject({ total: 2, idle: 0, max: 2 });
  await expect(postgres.query('late', 'SELECT 1')).rejects.toMatchObject({
    code: 'OVERLOADED',
    retryAfterS: 2,
  });
  expect(postgres.stats().total).toBe(2);
  await Promise.all(holders.map(({ letGo }) => letGo()));
  await until(async () => postgres.stats(), {
    ok: ({ total, idle }) => total === idle,
    what: 'all connections to be free',
  });
  expect(await postgres.query('two', 'SELECT 2 AS two')).toEqual([{ two: 2 }]);
});

test('[DB7] given connections that are never released, they are cut and the pool recovers', async () => {
  await using postgres = open({ leaks: { warnMs: 100, cutMs: 300 } });
  const leaks = [holdOne(postgres), holdOne(postgres)];
  const endings = leaks.map(({ held }) => held);
  await Promise.all(endings);
  expect(postgres.stats()).toMatchObject({ total: 2, idle: 0 });
  // Waits for a connection as a request does, and gets it without a new process.
  expect(await postgres.query('again', 'SELECT 1 AS one')).toEqual([{ one: 1 }]);
  await until(async () => postgres.stats(), {
    ok: ({ total, idle }) => total === idle,
    what: 'both places to be free',
  });
  expect(postgres.oldestCheckout()).toBeUndefined();
  // The holders return late: their transactions are gone, and no other query is affected.
  const late = await Promise.allSettled(leaks.map(({ letGo }) => letGo()));
  expect(late.map(({ status }) => status)).toEqual(['rejected', 'rejected']);
  await Promise.all([postgres.query('one', 'SELECT 1'), postgres.query('two', 'SELECT 2')]);
  expect(postgres.stats().total).toBeLessThanOrEqual(2);
});

test('[DB1] given an unreachable database, the result is unavailable', async () => {
  await using postgres = open({ url: 'postgres://nobody:secret@127.0.0.1:1/none' });
  await expect(postgres.query('any', 'SELECT 1')).rejects.toMatchObject({ code: 'DATABASE_UNAVAILABLE' });
  await expect(postgres.ping()).rejects.toThrow();
});

test('[DB4] given a connection that the server terminated, it is replaced', async () => {
  await using postgres = open();
  await using other = open();
  const [own] = await postgres.query<{ pid: number }>('pid', 'SELECT pg_backend_pid() AS pid');
  await other.query('cut', 'SELECT pg_terminate_backend($1)', [own?.pid]);
  const answer = await until(
    () => postgres.query<{ pid: number }>('pid', 'SELECT pg_backend_pid() AS pid').catch(() => []),
    { ok: (rows) => rows.length === 1, what: 'an answer' },
  );
  expect(answer[0]?.pid).not.toBe(own?.pid);
});

test('[DB5] given a failed transaction, it has no effect', async () => {
  await using postgres = open();
  const failing = postgres.transaction(async (tx) => {
    await tx.query('insert', 'INSERT INTO notes VALUES ($1)', ['half']);
    throw new Error('changed my mind');
  });
  await expect(failing).rejects.toThrow('changed my mind');
  expect(await postgres.query('select', 'SELECT * FROM notes')).toEqual([]);
  expect(postgres.stats()).toMatchObject({ waiting: 0 });
});

test('[DB5] given a serialization failure, the transaction is retried', async () => {
  await using postgres = open();
  let tries = 0;
  await postgres.transaction(async () => {
    tries += 1;
    if (tries < 3) throw Object.assign(new Error('could not serialize'), { code: '40001' });
  });
  expect(tries).toBe(3);
});

test('[DB6] given a standby, it responds and is not up', async () => {
  await using postgres = open();
  await postgres.ping();
  await using readOnly = open({ url: `${url}?options=-c%20default_transaction_read_only%3Don` });
  await expect(readOnly.ping()).rejects.toThrow(/read-only/);
});

test('[HL11] given a refusal of the server, its reason is named', async () => {
  await using postgres = open();
  const role = `narrow_${process.pid}`;
  await postgres.query('make', `CREATE ROLE ${role} LOGIN PASSWORD 'right' CONNECTION LIMIT 0`);
  const at = (change: Partial<URL>): string => Object.assign(new URL(url), change).href;
  const reasonAt = async (address: string): Promise<string> => {
    await using refused = open({ url: address });
    return refused.ping().then(
      () => 'none',
      (error: unknown) => dependencyFaultOf(error),
    );
  };
  try {
    expect(await reasonAt(at({ password: 'wrong' }))).toBe('auth');
    expect(await reasonAt(at({ pathname: '/mustard' }))).toBe('wrong_database');
    expect(await reasonAt(at({ username: role, password: 'right' }))).toBe('too_many_connections');
    expect(await reasonAt(at({ search: '?options=-c%20default_transaction_read_only%3Don' }))).toBe('read_only');
    expect(await reasonAt(at({ search: '?options=-c%20no_such_setting%3Don' }))).toBe('startup_parameter');
    expect(await reasonAt(at({ search: '?sslmode=require' }))).toBe('tls');
    expect(await reasonAt(at({ hostname: 'postgres.invalid' }))).toBe('unknown_host');
    expect(await reasonAt(at({ port: '1' }))).toBe('refused');
  } finally {
    await postgres.query('drop', `DROP ROLE ${role}`);
  }
});
