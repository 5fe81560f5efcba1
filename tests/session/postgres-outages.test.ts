import { migrate } from '@muster/session-service/postgres/migration-runner';
import { type DedicatedStore, openDedicatedPostgres } from '@muster/testkit/dedicated-store';
import { type FaultProxy, openFaultProxy } from '@muster/testkit/fault-proxy';
import { useTestStores } from '@muster/testkit/stores';
import { withClient } from '@muster/testkit/template';
import { until } from '@muster/testkit/wait';
import { Redis } from 'ioredis';
import { Client } from 'pg';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { startService, type TestService } from './fixture.ts';

const stores = useTestStores({ migrate });
let stack: AsyncDisposableStack;
let postgres: FaultProxy;
let redis: Redis;
let service: TestService;

beforeAll(async () => {
  stack = new AsyncDisposableStack();
  postgres = stack.use(await openFaultProxy(stores.databaseUrl));
  redis = new Redis(stores.redisUrl);
  stack.defer(() => redis.disconnect());
  service = stack.use(
    await startService(
      { databaseUrl: postgres.url, redisUrl: stores.redisUrl, redisPrefix: stores.redisPrefix },
      { PG_POOL_SIZE: '4', PG_MAX_OVERFLOW: '2', SESSION_LIMIT_PER_MINUTE: '0' },
    ),
  );
});
afterEach(() => postgres.pass());
afterAll(() => stack.disposeAsync());

const sql = (text: string, values: unknown[] = []) =>
  withClient(stores.databaseUrl, async (client) => (await client.query(text, values)).rows);
const open = (user = 'u_1') => service.service('POST', '/v1/sessions', { user_id: user });
const login = async (user?: string) => (await open(user)).body as { id: string; token: string };
const check = (token: string) => service.bearer(token, 'GET', '/v1/session');
const keyOf = (id: string) => `${stores.redisPrefix}s:{${id}}`;
/** Makes the snapshot look as if it had not been compared with Postgres for a while. */
const makeOld = async (id: string, ms: number) => {
  const [rev, json] = (await redis.get(keyOf(id)))!.split(/\|(.*)/s) as [string, string];
  const old = { ...JSON.parse(json), freshUntil: Date.now() - ms };
  await redis.set(keyOf(id), `${rev}|${JSON.stringify(old)}`, 'PX', 60_000);
};
const poolIsWhole = () =>
  until(
    async () => {
      const health = await (await fetch(`${service.opsUrl}/health`)).json();
      const { pool, status } = (health as { checks: { database: Record<string, unknown> } }).checks.database;
      const { total, idle, waiting } = pool as Record<string, number>;
      return status === 'up' && total === idle && waiting === 0;
    },
    { what: 'a whole pool', timeoutMs: 15_000 },
  );
const timed = async <T>(work: Promise<T>): Promise<{ answer: T; ms: number }> => {
  const begun = performance.now();
  return { answer: await work, ms: performance.now() - begun };
};

test('[SE22] [SE49] given a Postgres that hangs, no check waits longer than two seconds and the pool is intact afterwards', async () => {
  const [fresh, old, tooOld, unseen] = [await login(), await login(), await login(), await login()];
  await makeOld(old.id, 60_000);
  await makeOld(tooOld.id, 2 * 3_600_000);
  await redis.del(keyOf(unseen.id));
  const accepted = await service.metric('session_stale_snapshots_accepted_total');
  await postgres.blackhole();
  const [first, second, third, fourth] = await Promise.all([
    timed(check(fresh.token)),
    timed(check(old.token)),
    timed(check(tooOld.token)),
    timed(check(unseen.token)),
  ]);
  expect(first.answer.status).toBe(200);
  expect(second.answer.status).toBe(200);
  expect(await service.metric('session_stale_snapshots_accepted_total')).toBe(accepted + 1);
  for (const { answer } of [third, fourth]) {
    expect(answer.status).toBe(503);
    expect(Number(answer.headers.get('retry-after'))).toBeGreaterThan(0);
  }
  expect(first.ms).toBeLessThan(1500);
  for (const { ms } of [second, third, fourth]) expect(ms).toBeLessThan(4000);
  await postgres.pass();
  await until(async () => (await check(unseen.token)).status === 200, {
    what: 'the database',
    timeoutMs: 10_000,
  });
  expect((await check(tooOld.token)).status).toBe(200);
  await poolIsWhole();
});

test('[SE48] given a burst of changes, the pool limit holds', async () => {
  const count = async () =>
    (
      await sql(
        `SELECT count(*)::int AS n FROM pg_stat_activity
         WHERE application_name LIKE 'sessions@session-test%' AND datname = current_database()`,
      )
    )[0].n as number;
  const stranger = new Client({ connectionString: stores.databaseUrl });
  await stranger.connect();
  await stranger.query('BEGIN');
  const held = await login('u_held');
  await stranger.query('SELECT 1 FROM sessions WHERE id = $1 FOR UPDATE', [held.id]);
  const ends = Array.from({ length: 30 }, () => service.service('DELETE', `/v1/sessions/${held.id}`));
  // Pool, overflow, and the connection of the health check.
  await until(async () => (await count()) >= 6, { what: 'a full pool' });
  expect(await count()).toBeLessThanOrEqual(7);
  await stranger.query('ROLLBACK');
  await stranger.end();
  const statuses = (await Promise.all(ends)).map(({ status }) => status);
  expect(statuses.filter((status) => ![204, 503].includes(status))).toEqual([]);
  expect(
    await sql(`SELECT 1 FROM session_events WHERE session_id = $1 AND type = 'session.ended'`, [held.id]),
  ).toHaveLength(1);
  await poolIsWhole();
});

test('[SE19] given a read-only Postgres, the response is 503 until it is writable', async () => {
  const [{ database }] = await sql('SELECT current_database() AS database');
  const drop = () =>
    sql(
      `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'sessions@%' AND datname = current_database()`,
    );
  const { token } = await login();
  await sql(`ALTER DATABASE "${database}" SET default_transaction_read_only = on`);
  await drop();
  try {
    await until(async () => (await open()).status === 503, { what: 'the read-only server' });
    expect(Number((await open()).headers.get('retry-after'))).toBeGreaterThan(0);
    expect((await check(token)).status).toBe(200);
    const ended = await service.bearer(token, 'DELETE', '/v1/session');
    expect(ended.status).toBe(503);
    expect((await check(token)).status).toBe(200);
  } finally {
    await withClient(stores.databaseUrl, async (client) => {
      await client.query('SET default_transaction_read_only = off');
      await client.query(`ALTER DATABASE "${database}" RESET default_transaction_read_only`);
    });
  }
  // The old connections stay open and would remain read-only, so the service must close them itself.
  await until(async () => (await open()).status === 201, { what: 'a writable server', timeoutMs: 10_000 });
  expect((await service.bearer(token, 'DELETE', '/v1/session')).status).toBe(204);
});

test('[SE29] given a month without a partition, events are kept and no login fails', async () => {
  const [{ partition }] = await sql(`SELECT 'session_events_' || to_char(now(), 'YYYYMM') AS partition`);
  await sql(`ALTER TABLE session_events DETACH PARTITION ${partition}`);
  const { id } = await login('u_default');
  expect(await sql(`SELECT tableoid::regclass::text AS place FROM session_events WHERE session_id = $1`, [id])).toEqual(
    [{ place: 'session_events_default' }],
  );
  expect((await service.service('GET', '/v1/events?user_id=u_default')).status).toBeLessThan(500);
  await sql(`DELETE FROM session_events_default`);
  await sql(
    `ALTER TABLE session_events ATTACH PARTITION ${partition} FOR VALUES FROM (date_trunc('month', now())) TO (date_trunc('month', now()) + interval '1 month')`,
  );
});

describe('a server without free connections', () => {
  let own: DedicatedStore;
  let crowdedUrl: string;
  const strangers: Client[] = [];

  beforeAll(async () => {
    own = await openDedicatedPostgres();
    // The server's own limit rejects connections; a limit of a role answers with the same code.
    await withClient(own.url, async (client) => {
      await client.query(`CREATE ROLE plain LOGIN PASSWORD 'plain' CONNECTION LIMIT 12`);
      await client.query('CREATE DATABASE crowded OWNER plain');
    });
    const url = new URL(own.url);
    Object.assign(url, { username: 'plain', password: 'plain', pathname: '/crowded' });
    crowdedUrl = url.href;
  });
  afterAll(async () => {
    await Promise.allSettled(strangers.map((one) => one.end()));
    await own[Symbol.asyncDispose]();
  });

  test('[SE19] given no free connection, the response is 503 with Retry-After until there is', async () => {
    const connect = async (): Promise<boolean> => {
      const client = new Client({ connectionString: crowdedUrl });
      client.on('error', () => {});
      try {
        await client.connect();
        strangers.push(client);
        return true;
      } catch {
        return false;
      }
    };
    for (let n = 0; n < 20; n += 1) if (!(await connect())) break;
    expect(strangers).toHaveLength(12);
    await using crowded = await startService(
      { databaseUrl: crowdedUrl, redisUrl: stores.redisUrl, redisPrefix: `${stores.redisPrefix}crowded:` },
      { EXPECTED_REPLICAS: '1', REPLICA_SURGE: '0' },
    );
    const answers = await Promise.all(
      Array.from({ length: 10 }, () => crowded.service('POST', '/v1/sessions', { user_id: 'u' })),
    );
    for (const answer of answers) {
      expect(answer.status).toBe(503);
      expect(Number(answer.headers.get('retry-after'))).toBeGreaterThan(0);
    }
    await Promise.all(strangers.splice(0).map((one) => one.end()));
    await until(async () => (await crowded.service('POST', '/v1/sessions', { user_id: 'u' })).status === 201, {
      what: 'room',
      timeoutMs: 15_000,
    });
  });
});
