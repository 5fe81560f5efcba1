import { setTimeout as sleep } from 'node:timers/promises';
import { systemClock } from '@muster/kit/clock';
import { createMetrics } from '@muster/kit/metrics';
import { openRedis, type RedisConnections } from '@muster/kit/redis/connection';
import { createSessionEventsSubscriber } from '@muster/session/session-events-subscriber';
import { createSessionVerifier } from '@muster/session/session-verifier';
import { migrate } from '@muster/session-service/postgres/migration-runner';
import { type DedicatedStore, openDedicatedRedis } from '@muster/testkit/dedicated-store';
import { createInMemoryLog } from '@muster/testkit/in-memory-log';
import { useTestStores } from '@muster/testkit/stores';
import { withClient } from '@muster/testkit/template';
import { until } from '@muster/testkit/wait';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { INTERNAL_KEY, SECRETS, startService, type TestService } from './fixture.ts';

const stores = useTestStores({ migrate });
let stack: AsyncDisposableStack;
let server: DedicatedStore;
let redis: RedisConnections;
let service: TestService;
let other: TestService;

const log = createInMemoryLog();
const metrics = () => createMetrics({ service: 'test', version: '0' });

beforeAll(async () => {
  stack = new AsyncDisposableStack();
  server = stack.use(await openDedicatedRedis());
  const own = { databaseUrl: stores.databaseUrl, redisUrl: server.url, redisPrefix: 't:' };
  service = stack.use(await startService(own, { SWEEP_INTERVAL_MS: '100' }));
  other = stack.use(await startService(own, { INSTANCE_NAME: 'other' }));
  const config = {
    url: server.url,
    prefix: 't:',
    maxConnections: 5,
    connectTimeoutMs: 1000,
    commandTimeoutMs: 1000,
  };
  redis = stack.use(await openRedis({ ...config, name: 'elsewhere' }, { log, metrics: metrics() }));
});
afterAll(() => stack.disposeAsync());

const sql = (text: string, values: unknown[] = []) =>
  withClient(stores.databaseUrl, async (client) => (await client.query(text, values)).rows);
let users = 0;
/** A new user each time, so the session limit never applies. */
const login = async () => {
  users += 1;
  const { body } = await service.service('POST', '/v1/sessions', { user_id: `u_${users}` });
  return body as { id: string; token: string };
};
const check = (token: string, at = service) => at.bearer(token, 'GET', '/v1/session');
const secondsOf = async (expression: string, id: string) =>
  (await sql(`SELECT extract(epoch FROM ${expression})::float8 AS s FROM sessions WHERE id = $1`, [id]))[0].s as number;
const openVerifier = () =>
  createSessionVerifier({
    redis,
    clock: systemClock,
    log,
    metrics: metrics(),
    sessionSecrets: SECRETS,
    cookieName: 'session_id',
    service: { urls: [service.opsUrl], apiKey: INTERNAL_KEY },
  });

test('[VD1] given an application that receives the new secret, the last 30 s of the previous secret start', async () => {
  await using verifier = openVerifier();
  const { id, token } = await login();
  const { body } = await service.bearer(token, 'POST', '/v1/session/rotate');
  expect(await verifier.verify({ authorization: `Bearer ${token}` })).toMatchObject({ ok: true });
  await sleep(100);
  expect(await secondsOf('prev_until - now()', id)).toBeGreaterThan(3600);
  expect(await verifier.verify({ authorization: `Bearer ${body.token}` })).toMatchObject({ ok: true });
  await until(async () => (await secondsOf('prev_until - now()', id)) <= 30, { what: 'the confirmation' });
});

test('[VD2] given checks of an application, the session stays live', async () => {
  await using verifier = openVerifier();
  const { id, token } = await login();
  await sql(`UPDATE sessions SET last_seen_at = now() - interval '1 hour' WHERE id = $1`, [id]);
  expect(await verifier.verify({ authorization: `Bearer ${token}` })).toMatchObject({ ok: true });
  await until(async () => (await secondsOf('now() - last_seen_at', id)) < 60, { what: 'the touch' });
});

test('[VD3] given 200 ends, a subscriber receives them soon and every replica refuses the sessions at once', async () => {
  const heard = new Map<string, number>();
  await using _subscriber = createSessionEventsSubscriber({
    redis,
    clock: systemClock,
    log,
    metrics: metrics(),
    onEnded: (id) => void heard.set(id, performance.now()),
    onLost: () => {},
  });
  await until(() => _subscriber.healthy(), { what: 'a subscriber' });
  const sessions = await Promise.all(Array.from({ length: 200 }, login));
  const delays: number[] = [];
  for (const { id, token } of sessions) {
    const begun = performance.now();
    expect((await service.service('DELETE', `/v1/sessions/${id}`)).status).toBe(204);
    expect((await check(token, other)).status).toBe(401);
    await until(() => heard.has(id), { what: 'the end', intervalMs: 1 });
    delays.push(heard.get(id)! - begun);
  }
  delays.sort((a, b) => a - b);
  // Around 10 ms where the machine is ours; the bound of the design, 250 ms, is not for one that is busy with other tests.
  expect(delays[197]).toBeLessThan(1_000);
});

test('[SE21] given a failover that lost a tombstone, the next heartbeats restore it', async () => {
  const { id, token } = await login();
  await check(token);
  const stale = await redis.lane().get(`t:s:{${id}}`);
  await service.service('DELETE', `/v1/sessions/${id}`);
  await sleep(1100);
  const [last] = await redis.lane().xrevrange('t:{bus}log', '+', '-', 'COUNT', 1);
  // The new primary lacks the end: the old snapshot, and a stream without its last entry.
  await redis.lane().multi().xdel('t:{bus}log', last![0]).set(`t:s:{${id}}`, stale!, 'PX', 60_000).exec();
  await until(async () => (await check(token)).status === 401, { what: 'the end again', timeoutMs: 5000 });
});

test('[SE22] given a flush, 250 checks share a few statements and none is refused', async () => {
  const created = await Promise.all(Array.from({ length: 250 }, login));
  const tokens = created.map(({ token }) => ({ token }));
  const counted = () => service.metric('db_client_operation_duration_seconds_count{operation="find_sessions"}');
  await redis.lane().flushall();
  const before = await counted();
  const answers = await Promise.all(
    Array.from({ length: 5 }, (_, n) =>
      service.service('POST', '/v1/sessions/check', { tokens: tokens.slice(n * 50, n * 50 + 50) }),
    ),
  );
  const items = answers.flatMap(({ body }) => body.items as { active: boolean }[]);
  expect(items).toHaveLength(250);
  expect(items.every(({ active }) => active)).toBe(true);
  expect((await counted()) - before).toBeLessThanOrEqual(10);
});

test('[SE23] given a Redis that hangs, checks use Postgres, soon without waiting for Redis', async () => {
  const sessions = await Promise.all(Array.from({ length: 20 }, login));
  server.signal('SIGSTOP');
  try {
    const first = await Promise.all(sessions.map(({ token }) => check(token)));
    expect(new Set(first.map(({ status }) => status))).toEqual(new Set([200]));
    await sleep(1000);
    const times: number[] = [];
    for (const { token } of sessions) {
      const begun = performance.now();
      expect((await check(token)).status).toBe(200);
      times.push(performance.now() - begun);
    }
    times.sort((a, b) => a - b);
    expect(times[10]).toBeLessThan(500);
    const ended = await service.bearer(sessions[0]!.token, 'DELETE', '/v1/session');
    expect(ended.status).toBe(202);
    expect((await check(sessions[0]!.token)).status).toBe(401);
  } finally {
    server.signal('SIGCONT');
  }
  await until(async () => (await redis.lane().get(`t:s:{${sessions[0]!.id}}`)) === '!2|logout', {
    what: 'the tombstone',
    timeoutMs: 10_000,
  });
});
