import { setTimeout as sleep } from 'node:timers/promises';
import { migrate } from '@muster/session-service/postgres/migration-runner';
import { type DedicatedStore, openDedicatedPostgres, openDedicatedRedis } from '@muster/testkit/dedicated-store';
import { useTestStores } from '@muster/testkit/stores';
import { withClient } from '@muster/testkit/template';
import { until } from '@muster/testkit/wait';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { startService, type TestService } from './fixture.ts';

const stores = useTestStores({ migrate });
let stack: AsyncDisposableStack;
let redis: DedicatedStore;
let service: TestService;

const login = async (user = 'u_1') =>
  (await service.service('POST', '/v1/sessions', { user_id: user })).body as { id: string; token: string };
const check = (token: string) => service.bearer(token, 'GET', '/v1/session');
const sql = (text: string, values: unknown[] = []) =>
  withClient(stores.databaseUrl, async (client) => (await client.query(text, values)).rows);
const raw = async <T>(use: (client: Redis) => Promise<T>): Promise<T> => {
  const client = new Redis(redis.url);
  try {
    return await use(client);
  } finally {
    client.disconnect();
  }
};
const healthy = () =>
  until(async () => (await fetch(`${service.opsUrl}/health`)).json(), {
    ok: (body) => (body as { status: string }).status === 'healthy',
    what: 'a healthy service',
    timeoutMs: 10_000,
  });

describe('Redis', () => {
  beforeAll(async () => {
    stack = new AsyncDisposableStack();
    redis = stack.use(await openDedicatedRedis());
    service = stack.use(
      await startService({ databaseUrl: stores.databaseUrl, redisUrl: redis.url, redisPrefix: 't:' }),
    );
  });
  afterAll(() => stack.disposeAsync());

  test('[SE17] when an end is answered, Redis and the bus have it, and the outbox is emptied', async () => {
    const { id, token } = await login();
    expect(await raw((client) => client.get(`t:s:{${id}}`))).toMatch(/^1\|/);
    await service.bearer(token, 'DELETE', '/v1/session');
    expect(await raw((client) => client.get(`t:s:{${id}}`))).toBe('!2|logout');
    const entries = await raw((client) => client.xrevrange('t:{bus}log', '+', '-', 'COUNT', 1));
    expect(JSON.parse(entries[0]![1][1]!)).toMatchObject({ k: 'end', ids: [id], why: 'logout' });
    await until(async () => (await sql('SELECT 1 FROM outbox')).length === 0, { what: 'an empty outbox' });
  });

  test('[SE18] [SE73] given an outage of Redis, no valid request is refused, ends are pending and everything recovers', async () => {
    const [live, over, later] = [await login(), await login(), await login()];
    await redis.stop();
    expect((await check(live.token)).status).toBe(200);
    const opened = await service.service('POST', '/v1/sessions', { user_id: 'u_2' });
    expect(opened.status).toBe(201);
    expect((await check(opened.body.token)).status).toBe(200);
    const ended = await service.bearer(over.token, 'DELETE', '/v1/session');
    expect(ended.status).toBe(202);
    expect(ended.body).toEqual({ propagation: 'pending' });
    expect((await check(over.token)).body).toMatchObject({ end_reason: 'logout' });
    const answers = await Promise.all(Array.from({ length: 50 }, () => check(live.token)));
    expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([200]));
    await until(async () => (await fetch(`${service.opsUrl}/health`)).json(), {
      ok: (body) => (body as { status: string }).status === 'degraded',
      what: 'a degraded service',
    });
    expect((await fetch(`${service.url}/readyz`)).status).toBe(200);
    await redis.start();
    await until(() => raw((client) => client.get(`t:s:{${over.id}}`)), {
      ok: (value) => value === '!2|logout',
      what: 'the tombstone',
    });
    await healthy();
    expect((await service.bearer(later.token, 'DELETE', '/v1/session')).status).toBe(204);
    expect((await check(live.token)).status).toBe(200);
  });

  test('[SE20] given an undelivered change, it is relayed within 2 s', async () => {
    const { id, token } = await login();
    expect((await check(token)).status).toBe(200);
    // State that a replica leaves that died between commit and Redis.
    await sql(
      `WITH ended AS (UPDATE sessions SET ended_at = now(), end_reason = 'revoked', rev = rev + 1 WHERE id = $1 RETURNING id, rev)
      INSERT INTO outbox (topic, payload) SELECT 'session', jsonb_build_object('k', 'end', 'why', 'revoked', 'at', 1,
      'sessions', jsonb_agg(jsonb_build_object('id', id, 'rev', rev))) FROM ended`,
      [id],
    );
    const begun = performance.now();
    await until(async () => (await check(token)).status === 401, { what: 'the end', timeoutMs: 2000 });
    expect(performance.now() - begun).toBeLessThan(2000);
    await until(async () => (await sql('SELECT 1 FROM outbox')).length === 0, { what: 'an empty outbox' });
  });

  test('[SE21] given a flush, no ended session is accepted and no live session refused', async () => {
    const live = await login();
    const over = await login();
    await service.bearer(over.token, 'DELETE', '/v1/session');
    const before = (await raw((client) => client.get('t:{bus}epoch')))!;
    await raw((client) => client.flushall());
    expect((await check(over.token)).status).toBe(401);
    expect((await check(live.token)).status).toBe(200);
    await until(() => raw((client) => client.get('t:{bus}epoch')), {
      ok: (epoch) => epoch !== null && epoch !== before,
      what: 'a new epoch',
    });
    await until(() => raw((client) => client.get(`t:s:{${over.id}}`)), {
      ok: (value) => value === '!2|logout',
      what: 'the tombstone to be written again',
    });
  });
});

describe('Postgres', () => {
  let postgres: DedicatedStore;

  beforeAll(async () => {
    stack = new AsyncDisposableStack();
    postgres = stack.use(await openDedicatedPostgres());
    await postgres.stop();
    service = stack.use(
      await startService({
        databaseUrl: postgres.url,
        redisUrl: stores.redisUrl,
        redisPrefix: stores.redisPrefix,
      }),
    );
  });
  afterAll(() => stack.disposeAsync());

  test('[SE74] given no Postgres at start, the service reports it and migrates later', async () => {
    const answer = await service.service('POST', '/v1/sessions', { user_id: 'u_1' });
    expect(answer.status).toBe(503);
    expect(answer.body.type).toBe('/problems/database-unavailable');
    expect(Number(answer.headers.get('retry-after'))).toBeGreaterThan(0);
    await postgres.start();
    await healthy();
    expect((await service.service('POST', '/v1/sessions', { user_id: 'u_1' })).status).toBe(201);
  });

  test('[SE19] given an outage of Postgres, checks continue, changes are 503 and no valid session is refused', async () => {
    const { id, token } = await login();
    const { token: unseen, id: unseenId } = await login();
    await forget(unseenId);
    await postgres.stop();
    for (let n = 0; n < 5; n += 1) expect((await check(token)).status).toBe(200);
    expect((await check(unseen)).status).toBe(503);
    expect((await service.service('POST', '/v1/sessions', { user_id: 'u_1' })).status).toBe(503);
    expect((await service.bearer(token, 'DELETE', '/v1/session')).status).toBe(503);
    expect((await service.bearer(token, 'GET', '/v1/me/sessions')).status).toBe(503);
    expect((await service.bearer('forged', 'GET', '/v1/session')).status).toBe(401);
    expect((await service.internal('POST', '/internal/sessions/check', { ids: [id] })).status).toBe(503);
    await postgres.start();
    await until(async () => (await check(unseen)).status === 200, {
      what: 'the database',
      timeoutMs: 10_000,
    });
    expect((await service.bearer(token, 'DELETE', '/v1/session')).status).toBe(204);
  });

  const forget = async (id: string) => {
    const client = new Redis(stores.redisUrl);
    await client.del(`${stores.redisPrefix}s:{${id}}`);
    client.disconnect();
  };

  test('[SE19] given a restart of Postgres under load, there is no unhandled error', async () => {
    const { token } = await login();
    const statuses = new Set<number>();
    const deadline = performance.now() + 3000;
    const load = Array.from({ length: 8 }, async () => {
      while (performance.now() < deadline) {
        statuses.add((await service.service('POST', '/v1/sessions', { user_id: 'u_load' })).status);
        statuses.add((await check(token)).status);
      }
    });
    await sleep(200);
    await postgres.stop();
    await sleep(300);
    await postgres.start();
    await Promise.all(load);
    expect([...statuses].filter((status) => ![200, 201, 503].includes(status))).toEqual([]);
    await until(async () => (await service.service('POST', '/v1/sessions', { user_id: 'u_2' })).status === 201, {
      what: 'recovery',
    });
  });
});
