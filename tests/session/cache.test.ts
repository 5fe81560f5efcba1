import { systemClock } from '@muster/kit/clock';
import { createMetrics } from '@muster/kit/metrics';
import { openRedis, type RedisConnections } from '@muster/kit/redis/connection';
import { busKeys, emitSessionBusHeartbeat, emitSessionChange } from '@muster/session/session-events';
import { createSessionEventsSubscriber } from '@muster/session/session-events-subscriber';
import { createSnapshotStore, type Snapshot } from '@muster/session/session-snapshot';
import { newSessionId, type SessionId } from '@muster/session/token';
import { type DedicatedStore, openDedicatedRedis } from '@muster/testkit/dedicated-store';
import { createInMemoryLog } from '@muster/testkit/in-memory-log';
import { until } from '@muster/testkit/wait';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';

let stack: AsyncDisposableStack;
let server: DedicatedStore;
let redis: RedisConnections;

const connect = () =>
  openRedis(
    {
      url: server.url,
      prefix: 't:',
      maxConnections: 20,
      connectTimeoutMs: 1000,
      commandTimeoutMs: 1000,
      name: 'session-cache-test',
    },
    { log: createInMemoryLog(), metrics: createMetrics({ service: 'test', version: '0' }) },
  );

beforeAll(async () => {
  stack = new AsyncDisposableStack();
  server = stack.use(await openDedicatedRedis());
  redis = stack.use(await connect());
});
beforeEach(async () => {
  await redis.lane().flushall();
});
afterAll(() => stack.disposeAsync());

const snapshot = (more: Partial<Snapshot> = {}): Snapshot => ({
  id: newSessionId(),
  tenant: 'default',
  userId: 'u_1',
  kind: 'user',
  secretHash: 'aGFzaA',
  rev: 1,
  aal: 1,
  label: null,
  createdAt: Date.now(),
  expiresAt: Date.now() + 3_600_000,
  idleSeconds: 600,
  lastSeenAt: Date.now(),
  freshUntil: Date.now() + 60_000,
  ...more,
});

test('[SN1] given two revisions, the newer wins, and the write of the older returns it', async () => {
  const store = createSnapshotStore({ redis });
  const second = snapshot({ rev: 2 });
  expect(await store.put(second)).toEqual({ ok: true });
  expect(await store.put({ ...second, rev: 1, label: 'old' })).toEqual({
    ok: false,
    newer: { is: 'live', snapshot: second },
  });
  expect(await store.put({ ...second, label: 'same' })).toMatchObject({ ok: false });
  expect(await store.put({ ...second, rev: 10 })).toEqual({ ok: true });
  expect(await store.readMany([second.id, newSessionId()])).toMatchObject([{ is: 'live' }, { is: 'missing' }]);
});

test('[TN3] given a tombstone, it has the tenant; readers of an earlier version can read it', async () => {
  const store = createSnapshotStore({ redis });
  const [shop, plain] = [snapshot({ rev: 2 }), snapshot({ rev: 2 })];
  await store.tomb(shop.id, 2, 'logout', 'shop');
  await store.tomb(plain.id, 2, 'logout', 'default');
  expect(await store.read(shop.id)).toEqual({ is: 'ended', reason: 'logout', tenant: 'shop' });
  expect(await store.read(plain.id)).toEqual({ is: 'ended', reason: 'logout' });
  expect(await redis.lane().get(`${redis.prefix}s:{${plain.id}}`)).toBe('!2|logout');
});

test('[SN2] given a tombstone, it stays over fills of the same or an older revision', async () => {
  const store = createSnapshotStore({ redis });
  const live = snapshot({ rev: 2 });
  await store.put(live);
  expect(await store.tomb(live.id, 2, 'logout')).toBe(true);
  expect(await store.put(live)).toEqual({ ok: false, newer: { is: 'ended', reason: 'logout' } });
  expect(await store.tomb(live.id, 1, 'older')).toBe(false);
  expect(await store.read(live.id)).toEqual({ is: 'ended', reason: 'logout' });
});

test('[SN3] given keys of another type or unreadable values, they are misses and the next write replaces them', async () => {
  const store = createSnapshotStore({ redis });
  const live = snapshot();
  const key = `t:s:{${live.id}}`;
  await redis.lane().rpush(key, 'a list');
  expect(await store.read(live.id)).toEqual({ is: 'missing' });
  expect(await store.put(live)).toEqual({ ok: true });
  expect(await store.read(live.id)).toMatchObject({ is: 'live' });
  for (const garbage of ['x', '99|{"id":', '99|null', '']) {
    await redis.lane().set(key, garbage);
    expect(await store.read(live.id)).toEqual({ is: 'missing' });
    expect(await store.put(live)).toEqual({ ok: true });
    expect(await store.read(live.id)).toMatchObject({ is: 'live' });
  }
  await redis.lane().del(key);
  await redis.lane().hset(key, 'a', 'hash');
  expect(await store.tomb(live.id, 3, 'logout')).toBe(true);
});

test('[SN4] given any key, it expires in time', async () => {
  const store = createSnapshotStore({ redis });
  const ttl = (id: SessionId) => redis.lane().pttl(`t:s:{${id}}`);
  const long = snapshot({ expiresAt: Date.now() + 30 * 86_400_000 });
  const short = snapshot({ expiresAt: Date.now() + 300 });
  await store.put(long);
  await store.put(short);
  expect(await ttl(long.id)).toBeLessThanOrEqual(86_400_000);
  expect(await ttl(long.id)).toBeGreaterThan(0.85 * 86_400_000);
  const left = await ttl(short.id);
  expect(left).toBeGreaterThan(0);
  expect(left).toBeLessThanOrEqual(300);
  await store.tomb(long.id, 9, 'logout');
  expect(await ttl(long.id)).toBeGreaterThan(14 * 60_000);
  expect(await ttl(long.id)).toBeLessThanOrEqual(15 * 60_000);
  const unknown = newSessionId();
  await store.putUnknown(unknown);
  expect(await store.read(unknown)).toEqual({ is: 'ended', reason: 'unknown' });
  expect(await ttl(unknown)).toBeLessThanOrEqual(30_000);
  expect(await store.put(snapshot({ id: unknown }))).toEqual({ ok: true });
});

test('[SN5] given a refresh, only the same live revision is renewed', async () => {
  const store = createSnapshotStore({ redis });
  const live = snapshot();
  expect(await store.refresh(live)).toBe(false);
  await store.put(live);
  expect(await store.refresh({ ...live, freshUntil: live.freshUntil + 1 })).toBe(true);
  expect(await store.refresh({ ...live, rev: 2 })).toBe(false);
  expect(await store.read(live.id)).toMatchObject({ snapshot: { freshUntil: live.freshUntil + 1 } });
  await store.tomb(live.id, 2, 'logout');
  expect(await store.refresh({ ...live, rev: 2 })).toBe(false);
  expect(await store.read(live.id)).toMatchObject({ is: 'ended' });
});

test('[SN6] given 300 random interleavings of fills, a rotation and an end, no ended session is restored', async () => {
  const store = createSnapshotStore({ redis });
  for (let run = 0; run < 300; run += 1) {
    const first = snapshot();
    const rotated = { ...first, rev: 2, secretHash: 'bmV3' };
    const acts = [
      () => store.put(first),
      () => store.put(first),
      () => store.put(rotated),
      () => store.refresh(first),
      () => store.put(rotated),
      () => store.tomb(first.id, 3, 'logout'),
      () => store.putUnknown(first.id),
    ];
    const shuffled = acts.map((act) => ({ act, at: Math.random() })).toSorted((a, b) => a.at - b.at);
    await Promise.all(shuffled.map(({ act }) => act()));
    expect(await store.read(first.id)).toEqual({ is: 'ended', reason: 'logout' });
  }
});

const listen = async (connections: RedisConnections) => {
  const ended = new Map<string, string>();
  const lost: number[] = [];
  const subscriber = createSessionEventsSubscriber({
    redis: connections,
    clock: systemClock,
    log: createInMemoryLog(),
    metrics: createMetrics({ service: 'test', version: '0' }),
    onEnded: (id, why) => void ended.set(id, why),
    onLost: () => void lost.push(Date.now()),
  });
  await until(() => subscriber.healthy(), { what: 'the subscriber to be healthy' });
  return { subscriber, ended, lost };
};

const end = (id: SessionId) => emitSessionChange({ redis }, { k: 'end', ids: [id], why: 'logout', at: Date.now() });

test('[EV2] [EV3] given a subscriber, it receives ends, and missed ends with the next heartbeat', async () => {
  await using own = await connect();
  const { subscriber, ended, lost } = await listen(own);
  const heard = newSessionId();
  await end(heard);
  await until(() => ended.get(heard), { what: 'the end' });
  // Appended but never published: a lost message.
  const unheard = newSessionId();
  const payload = JSON.stringify({ k: 'end', ids: [unheard], why: 'lost', at: 1 });
  await redis.lane().xadd(busKeys('t:').log, '*', 'm', payload);
  await emitSessionBusHeartbeat({ redis }, 'epoch', Date.now());
  await until(() => ended.get(unheard), { what: 'the end that was not published' });
  expect(lost).toEqual([]);
  await redis.lane().publish(busKeys('t:').channel, 'garbage');
  await redis.lane().publish(busKeys('t:').channel, '0-0 1-0 {"k":"future"}');
  const next = newSessionId();
  await end(next);
  await until(() => ended.get(next), { what: 'an end after garbage' });
  await subscriber[Symbol.asyncDispose]();
});

test('[EV4] given a flush, the next heartbeat detects it', async () => {
  await using own = await connect();
  await emitSessionBusHeartbeat({ redis }, 'before', Date.now());
  const { subscriber, lost } = await listen(own);
  await redis.lane().flushall();
  const state = await emitSessionBusHeartbeat({ redis }, 'after', Date.now());
  expect(state).toMatchObject({ epoch: 'after', isNew: true });
  await until(() => lost.length > 0, { what: 'the loss' });
  await subscriber[Symbol.asyncDispose]();
});

test('[EV6] given an outage, the subscriber subscribes again and reads missed messages', async () => {
  await using own = await connect();
  const { subscriber, ended } = await listen(own);
  await redis.lane().call('CLIENT', 'KILL', 'TYPE', 'pubsub');
  const missed = newSessionId();
  await end(missed);
  await until(() => ended.get(missed), { what: 'the end sent while the link was down' });
  const beating = setInterval(() => void emitSessionBusHeartbeat({ redis }, 'e', Date.now()), 200);
  await until(() => subscriber.healthy(), { what: 'health' });
  clearInterval(beating);
  await subscriber[Symbol.asyncDispose]();
});
