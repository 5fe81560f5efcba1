import { setTimeout as sleep } from 'node:timers/promises';
import { systemClock } from '@muster/kit/clock';
import { createMetrics } from '@muster/kit/metrics';
import { openRedis, type RedisConnections } from '@muster/kit/redis/connection';
import { busKeys } from '@muster/session/session-events';
import { createSessionEventsSubscriber } from '@muster/session/session-events-subscriber';
import { newSessionId } from '@muster/session/token';
import { migrate } from '@muster/session-service/postgres/migration-runner';
import { type DedicatedStore, openDedicatedRedis } from '@muster/testkit/dedicated-store';
import { createInMemoryLog } from '@muster/testkit/in-memory-log';
import { useTestStores } from '@muster/testkit/stores';
import { withClient } from '@muster/testkit/template';
import { until } from '@muster/testkit/wait';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { startService, type TestService } from './fixture.ts';

const stores = useTestStores({ migrate });
let stack: AsyncDisposableStack;
let server: DedicatedStore;
let raw: Redis;
let service: TestService;

beforeAll(async () => {
  stack = new AsyncDisposableStack();
  server = stack.use(await openDedicatedRedis());
  raw = new Redis(server.url);
  raw.on('error', () => {});
  stack.defer(() => raw.disconnect());
  service = stack.use(
    await startService(
      { databaseUrl: stores.databaseUrl, redisUrl: server.url, redisPrefix: 't:' },
      { SESSION_LIMIT_PER_MINUTE: '0', SWEEP_INTERVAL_MS: '1000' },
    ),
  );
});
afterAll(() => stack.disposeAsync());

const sql = (text: string, values: unknown[] = []) =>
  withClient(stores.databaseUrl, async (client) => (await client.query(text, values)).rows);
const open = () => service.service('POST', '/v1/sessions', { user_id: 'u_1' });
const login = async () => (await open()).body as { id: string; token: string };
const check = (token: string) => service.bearer(token, 'GET', '/v1/session');
const keyOf = (id: string) => `t:s:{${id}}`;
const redisHealth = async () =>
  ((await (await fetch(`${service.opsUrl}/health`)).json()) as { checks: { redis: { status: string } } }).checks.redis
    .status;
const emptyOutbox = () =>
  until(async () => (await sql('SELECT 1 FROM outbox')).length === 0, {
    what: 'an empty outbox',
    timeoutMs: 10_000,
  });

describe('snapshots', () => {
  test('[SE21] given an unreadable value, it is a miss and is replaced', async () => {
    const { id, token } = await login();
    const good = (await raw.get(keyOf(id)))!;
    for (const corrupt of ['x', '', good.slice(0, 40), '9999|null', '9999|{}', '1|[]', '!', `${good}}`]) {
      await raw.set(keyOf(id), corrupt, 'PX', 60_000);
      expect((await check(token)).status).toBe(200);
      expect(await raw.get(keyOf(id))).toMatch(/^1\|{"id"/);
    }
    await raw.del(keyOf(id));
    await raw.hset(keyOf(id), 'a', 'b');
    expect((await check(token)).status).toBe(200);
    expect(await raw.get(keyOf(id))).toMatch(/^1\|{"id"/);
  });

  test('[SE21] given the snapshot of another session under a key, it is a miss', async () => {
    const [one, other] = [await login(), await login()];
    await raw.set(keyOf(one.id), (await raw.get(keyOf(other.id)))!, 'PX', 60_000);
    expect((await check(one.token)).body.id).toBe(one.id);
    expect(await raw.get(keyOf(one.id))).toContain(one.id);
  });

  test('[SE21] given an evicted tombstone, the end stays', async () => {
    const { id, token } = await login();
    await service.bearer(token, 'DELETE', '/v1/session');
    await raw.del(keyOf(id));
    expect((await check(token)).body).toMatchObject({
      type: '/problems/session-ended',
      end_reason: 'logout',
    });
    expect(await raw.get(keyOf(id))).toBe('!2|logout');
  });

  test('[SE21] given a session, its keys expire with it', async () => {
    const [kept, ended, guest] = [
      await login(),
      await login(),
      (await service.call('POST', '/v1/guest-sessions', { json: { transport: 'bearer' } })).body,
    ];
    await service.bearer(kept.token, 'POST', '/v1/session/rotate');
    await service.bearer(ended.token, 'DELETE', '/v1/session');
    await service.bearer(guest.token, 'PATCH', '/v1/session', { label: 'x' });
    const brief = await login();
    await sql(`UPDATE sessions SET expires_at = now() + interval '300 milliseconds' WHERE id = $1`, [brief.id]);
    await raw.del(keyOf(brief.id));
    expect((await check(brief.token)).status).toBe(200);
    expect(await raw.pttl(keyOf(brief.id))).toBeGreaterThan(0);
    expect(await raw.pttl(keyOf(brief.id))).toBeLessThanOrEqual(300);
    const keys = await raw.keys('t:s:*');
    const lives = await Promise.all(keys.map((key) => raw.pttl(key)));
    // -2 is a key that expired while we were looking.
    expect(lives.filter((life) => life === -1 || life > 86_400_000)).toEqual([]);
    await until(async () => (await check(brief.token)).body.end_reason === 'expired', { what: 'the expiry' });
  });
});

describe('a Redis that takes no writes', () => {
  const expectHeld = async () => {
    const [live, over] = [await login(), await login()];
    expect((await check(live.token)).status).toBe(200);
    const ended = await service.bearer(over.token, 'DELETE', '/v1/session');
    expect(ended.status).toBe(202);
    expect((await check(over.token)).status).toBe(401);
    const opened = await open();
    expect(opened.status).toBe(201);
    expect((await check(opened.body.token)).status).toBe(200);
    return { live, over };
  };
  const expectHealed = async ({ live, over }: Awaited<ReturnType<typeof expectHeld>>) => {
    await until(async () => raw.get(keyOf(over.id)), {
      ok: (value) => value === '!2|logout',
      what: 'the tombstone',
      timeoutMs: 10_000,
    });
    await emptyOutbox();
    expect((await check(live.token)).status).toBe(200);
    await until(async () => (await service.bearer(live.token, 'DELETE', '/v1/session')).status === 204, {
      what: 'an end that is told at once',
    });
  };

  test('[SE18] given a full Redis, logins and checks continue and ends are delivered later', async () => {
    const before = await login();
    await raw.config('SET', 'maxmemory', '1');
    const held = await expectHeld();
    expect((await check(before.token)).status).toBe(200);
    await raw.config('SET', 'maxmemory', '0');
    await expectHealed(held);
  });

  test('[SE18] given a demoted Redis, nothing is lost and a ping does not make it healthy', async () => {
    await raw.replicaof('127.0.0.1', '1');
    expect(await raw.ping()).toBe('PONG');
    await expect(raw.set('x', 'y')).rejects.toThrow(/READONLY/);
    const held = await expectHeld();
    await until(async () => (await redisHealth()) === 'down', {
      what: 'the failed check',
      timeoutMs: 10_000,
    });
    await raw.replicaof('NO', 'ONE');
    await expectHealed(held);
    await until(async () => (await redisHealth()) === 'up', { what: 'the good check', timeoutMs: 10_000 });
  });
});

test('[SE18] [SE73] given a Redis stopped under load, no request is refused or delayed, and afterwards it is used again', async () => {
  const sessions = await Promise.all(Array.from({ length: 8 }, login));
  const seen: { status: number; ms: number }[] = [];
  let isOver = false;
  const load = sessions.map(async ({ token }) => {
    while (!isOver) {
      const begun = performance.now();
      const { status } = await check(token);
      seen.push({ status, ms: performance.now() - begun });
    }
  });
  await until(() => seen.length > 100, { what: 'load' });
  await server.stop();
  seen.length = 0;
  await until(() => seen.length > 400, { what: 'load without Redis', timeoutMs: 10_000 });
  const without = seen.splice(0);
  await server.start();
  await until(async () => (await redisHealth()) === 'up', { what: 'Redis', timeoutMs: 10_000 });
  seen.length = 0;
  await until(() => seen.length > 100, { what: 'load with Redis' });
  isOver = true;
  await Promise.all(load);
  expect(without.filter(({ status }) => status !== 200 && status !== 503)).toEqual([]);
  expect(new Set(seen.map(({ status }) => status))).toEqual(new Set([200]));
  const times = without.map(({ ms }) => ms).toSorted((a, b) => a - b);
  expect(times[Math.floor(times.length * 0.95)]).toBeLessThan(1000);
  await until(async () => (await raw.get(keyOf(sessions[0]!.id))) !== null, { what: 'snapshots again' });
});

test('[SE27] given 600 requests of one session, they are one activity in Redis and Postgres', async () => {
  const { id, token } = await login();
  await sql(`UPDATE sessions SET last_seen_at = now() - interval '10 minutes', rev = rev + 1 WHERE id = $1`, [id]);
  await raw.del(keyOf(id));
  const additions = async () => Number(/cmdstat_zadd:calls=(\d+)/.exec(await raw.info('commandstats'))?.[1] ?? 0);
  const updates = () => service.metric('db_client_operation_duration_seconds_count{operation="touch_sessions"}');
  const silent = async () =>
    (
      await sql('SELECT extract(epoch FROM now() - last_seen_at)::float8 AS seconds FROM sessions WHERE id = $1', [id])
    )[0].seconds as number;
  const before = { additions: await additions(), updates: await updates() };
  await Promise.all(
    Array.from({ length: 6 }, async () => {
      for (let n = 0; n < 100; n += 1) expect((await check(token)).status).toBe(200);
    }),
  );
  await until(async () => (await silent()) < 30, { what: 'the flush', timeoutMs: 10_000 });
  expect((await updates()) - before.updates).toBeGreaterThan(0);
  expect((await updates()) - before.updates).toBeLessThanOrEqual(2);
  // The heartbeats of the registry are additions, too.
  expect((await additions()) - before.additions).toBeLessThan(12);
});

describe('the change stream', () => {
  const config = { prefix: 't:', maxConnections: 5, connectTimeoutMs: 1000, commandTimeoutMs: 1000 };
  const connect = (): Promise<RedisConnections> =>
    openRedis(
      { ...config, url: server.url, name: 'subscriber' },
      { log: createInMemoryLog(), metrics: createMetrics({ service: 'test', version: '0' }) },
    );
  const listen = async (redis: RedisConnections) => {
    const heard = new Map<string, number>();
    let lost = 0;
    const metrics = createMetrics({ service: 'test', version: '0' });
    const subscriber = createSessionEventsSubscriber({
      redis,
      clock: systemClock,
      log: createInMemoryLog(),
      metrics,
      onEnded: (id) => void heard.set(id, (heard.get(id) ?? 0) + 1),
      onLost: () => {
        lost += 1;
      },
    });
    await until(() => subscriber.healthy(), { what: 'a subscriber', timeoutMs: 10_000 });
    return { subscriber, heard, lost: () => lost, metrics };
  };
  const payload = (id: string) => JSON.stringify({ k: 'end', ids: [id], why: 'lost', at: Date.now() });
  /** Adds messages to the stream that were lost in pub/sub. */
  const append = async (count: number) => {
    const ids = Array.from({ length: count }, newSessionId);
    for (const id of ids) await raw.xadd(busKeys('t:').log, '*', 'm', payload(id));
    return ids;
  };
  const readings = async () => {
    const stats = await raw.info('commandstats');
    return Number(/cmdstat_xrange:calls=(\d+)/.exec(stats)?.[1] ?? 0);
  };

  test('[EV3] given lost messages, they are read within two seconds, twenty in one read', async () => {
    await using redis = await connect();
    const { subscriber, heard } = await listen(redis);
    await using _subscriber = subscriber;
    const before = await readings();
    const begun = performance.now();
    const ids = await append(20);
    await until(() => ids.every((id) => heard.has(id)), { what: 'all ends', timeoutMs: 4000 });
    expect(performance.now() - begun).toBeLessThan(2000);
    // A heartbeat between two of the entries makes it two.
    expect((await readings()) - before).toBeLessThanOrEqual(2);
    // That second one may still be under way.
    await until(() => subscriber.healthy(), { what: 'a subscriber that is current again' });
  });

  test('[EV5] given duplicate and reordered messages, the same sessions end', async () => {
    await using redis = await connect();
    const { subscriber, heard, lost } = await listen(redis);
    await using _subscriber = subscriber;
    const { channel, log } = busKeys('t:');
    const ids = Array.from({ length: 5 }, newSessionId);
    const messages: string[] = [];
    let previous = (await raw.xrevrange(log, '+', '-', 'COUNT', 1))[0]?.[0] ?? '0-0';
    for (const id of ids) {
      const at = (await raw.xadd(log, '*', 'm', payload(id)))!;
      messages.push(`${previous} ${at} ${payload(id)}`);
      previous = at;
    }
    for (const message of [...messages.toReversed(), ...messages, ...messages.toReversed()]) {
      await raw.publish(channel, message);
    }
    await until(() => ids.every((id) => heard.has(id)), { what: 'all ends' });
    expect(lost()).toBe(0);
    const next = await login();
    await service.bearer(next.token, 'DELETE', '/v1/session');
    await until(() => heard.has(next.id), { what: 'an end afterwards' });
  });

  test('[EV1] given unknown messages, they are counted and the subscriber continues', async () => {
    await using redis = await connect();
    const { subscriber, heard, metrics } = await listen(redis);
    await using _subscriber = subscriber;
    const { channel } = busKeys('t:');
    for (const text of ['', 'x', '1-0', '1-0 2-0', '1-0 2-0 {', '0-0 1-0 null', '0-0 1-0 {"k":1}']) {
      await raw.publish(channel, text);
    }
    await raw.publish(channel, '0-0 0-1 {"k":"future","ids":7}');
    const { id, token } = await login();
    await service.bearer(token, 'DELETE', '/v1/session');
    await until(() => heard.has(id), { what: 'an end after the noise' });
    const text = await metrics.render();
    expect(text).toMatch(/session_bus_messages_total{[^}]*kind="malformed"[^}]*} 7/);
    expect(text).toMatch(/session_bus_messages_total{[^}]*kind="unknown"[^}]*} 1/);
  });

  test('[EV4] given a stream trimmed beyond the position of a subscriber, it checks everything again', async () => {
    await using redis = await connect();
    const { subscriber, lost } = await listen(redis);
    await using _subscriber = subscriber;
    await append(3);
    await raw.xtrim(busKeys('t:').log, 'MAXLEN', 1);
    await until(() => lost() > 0, { what: 'the loss', timeoutMs: 4000 });
    await until(() => subscriber.healthy(), { what: 'health afterwards', timeoutMs: 4000 });
  });

  test('[EV6] given a silent subscription, it is detected in three seconds and the messages are read', async () => {
    await using redis = await connect();
    const { subscriber, heard } = await listen(redis);
    await using _subscriber = subscriber;
    const sessions = await Promise.all(Array.from({ length: 50 }, login));
    // Every writer waits, and so does the heartbeat: no message arrives.
    await raw.client('PAUSE', 3500, 'WRITE');
    await sleep(100);
    await until(() => !subscriber.healthy(), { what: 'an unhealthy subscriber', timeoutMs: 4500 });
    const answers = await Promise.all(sessions.map(({ id }) => service.service('DELETE', `/v1/sessions/${id}`)));
    expect(answers.filter(({ status }) => status !== 202 && status !== 204)).toEqual([]);
    await until(() => sessions.every(({ id }) => heard.has(id)), { what: 'all ends', timeoutMs: 8000 });
    await until(() => subscriber.healthy(), { what: 'a healthy subscriber', timeoutMs: 8000 });
    for (const { token } of sessions) expect((await check(token)).status).toBe(401);
    await emptyOutbox();
  });
});
