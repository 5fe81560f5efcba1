import { randomBytes } from 'node:crypto';
import type { BusHandlers } from '@muster/bus/bus';
import type { GroupKey } from '@muster/bus/group-key';
import { encodeForPublish, unkeptMessage } from '@muster/bus/publication-encoding';
import { createRedisBus } from '@muster/bus/redis-broker';
import { createMetrics } from '@muster/kit/metrics';
import { openRedis } from '@muster/kit/redis/connection';
import { openFaultProxy } from '@muster/testkit/fault-proxy';
import { createInMemoryLog } from '@muster/testkit/in-memory-log';
import { until } from '@muster/testkit/wait';
import { Redis } from 'ioredis';
import { expect, inject, test, vi } from 'vitest';
import { busConformance } from './broker-conformance.ts';

busConformance('Redis', async () => {
  await using stack = new AsyncDisposableStack();
  const link = stack.use(await openFaultProxy(inject('storeBackend').redisUrl));
  const prefix = `t:${randomBytes(6).toString('hex')}:`;
  const owned = stack.move();
  return {
    connect: async (handlers) => {
      const log = createInMemoryLog();
      const metrics = createMetrics({ service: 'test', version: '0' });
      const config = {
        url: link.url,
        prefix,
        maxConnections: 6,
        connectTimeoutMs: 1000,
        commandTimeoutMs: 1000,
        name: 'bus-test',
      };
      const redis = owned.use(await openRedis(config, { log, metrics }));
      const bus = createRedisBus({ redis, log, metrics }, handlers);
      await until(bus.isUp, { what: 'the link of the bus' });
      return bus;
    },
    cut: link.refuse,
    restore: link.pass,
    flush: async () => {
      const redis = new Redis(inject('storeBackend').redisUrl);
      const keys = await redis.keys(`${prefix}*`);
      if (keys.length > 0) await redis.del(...keys);
      redis.disconnect();
    },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
});

/** A bus with a prefix of its own, and its connections. */
const openOwnBus = async (
  stack: AsyncDisposableStack,
  {
    maxConnections = 6,
    onMessage = () => {},
  }: { readonly maxConnections?: number; readonly onMessage?: BusHandlers['onMessage'] } = {},
) => {
  const log = createInMemoryLog();
  const metrics = createMetrics({ service: 'test', version: '0' });
  const prefix = `t:${randomBytes(6).toString('hex')}:`;
  const { redisUrl: url } = inject('storeBackend');
  const timeouts = { connectTimeoutMs: 5_000, commandTimeoutMs: 5_000 };
  const redis = stack.use(await openRedis({ ...timeouts, url, prefix, maxConnections, name: 'own' }, { log, metrics }));
  const bus = stack.use(createRedisBus({ redis, log, metrics }, { onMessage, onReconnected: () => {} }));
  return { redis, bus, prefix };
};

test('[ST30] given a stream about to expire, when its top is read with a longer lifetime, then it stays', async () => {
  await using stack = new AsyncDisposableStack();
  const { redis, bus, prefix } = await openOwnBus(stack);
  const group = 'room' as GroupKey;
  const position = await bus.top(group, { size: 5, ttlMs: 1_000, metaTtlMs: 30_000 });
  const life = () => redis.lane().pttl(`${prefix}gm:{room}`);
  expect(await bus.tops([{ group, keepMs: 0 }])).toEqual([position]);
  expect(await life()).toBeLessThanOrEqual(30_000);
  expect(await bus.tops([{ group, keepMs: 90_000 }])).toEqual([position]);
  expect(await life()).toBeGreaterThan(60_000);
});

test('[ST37] given many groups, when their newest publications are read in one turn, then one command reads them, and a key of another type fails alone', async () => {
  await using stack = new AsyncDisposableStack();
  // One connection for commands, one for subscriptions.
  const { redis, bus, prefix } = await openOwnBus(stack, { maxConnections: 2 });
  const retention = { size: 5, ttlMs: 30_000, metaTtlMs: 30_000 };
  await redis.lane().set(`${prefix}gm:{wrong}`, '');
  await redis.lane().hset(`${prefix}gm:{odd}`, 's', '1', 'e', 'x');
  await redis.lane().set(`${prefix}gs:{odd}`, '');
  const scripts = vi.spyOn(redis.lane() as Redis, 'evalsha');
  const names = ['wrong', 'odd', ...Array.from({ length: 100 }, (_, n) => `g${n}`)];
  const pages = await Promise.allSettled(names.map((name) => bus.newest(name as GroupKey, retention)));
  expect(scripts).toHaveBeenCalledTimes(1);
  expect(pages.map(({ status }) => status)).toEqual(names.map((name) => (name[0] === 'g' ? 'fulfilled' : 'rejected')));
});

test('[BU10] given a connection that discards all data, when three seconds pass, then it is replaced', async () => {
  await using stack = new AsyncDisposableStack();
  const link = stack.use(await openFaultProxy(inject('storeBackend').redisUrl));
  const log = createInMemoryLog();
  const metrics = createMetrics({ service: 'test', version: '0' });
  const config = {
    prefix: `t:${randomBytes(6).toString('hex')}:`,
    maxConnections: 6,
    connectTimeoutMs: 1000,
    commandTimeoutMs: 1000,
    name: 'bus-test',
  };
  // Commands go straight, only the listening connection goes through the proxy.
  const straight = stack.use(await openRedis({ ...config, url: inject('storeBackend').redisUrl }, { log, metrics }));
  const other = createMetrics({ service: 'test', version: '0' });
  const deaf = stack.use(await openRedis({ ...config, url: link.url }, { log, metrics: other }));
  let reconnects = 0;
  const received: string[] = [];
  const bus = stack.use(
    createRedisBus(
      { redis: { ...straight, dedicated: deaf.dedicated }, log, metrics },
      {
        onMessage: (_, { body }) => received.push(String(body)),
        onReconnected: () => {
          reconnects += 1;
        },
      },
    ),
  );
  await until(bus.isUp, { what: 'the link of the bus' });
  const room = 'room' as GroupKey;
  await bus.subscribe(room);
  await link.blackhole();
  const startedAt = performance.now();
  await until(() => log.of('bus.unreachable').length > 0, { what: 'the canary' });
  expect(performance.now() - startedAt).toBeLessThan(3_000);
  await link.pass();
  await until(() => reconnects > 0, { what: 'the new link' });
  const body = Buffer.from('{}');
  await bus.publish(room, {
    kind: 'publication',
    body,
    dataAt: 0,
    dataLength: 2,
    offset: 0,
    epoch: '',
    attributes: [],
  });
  await until(() => received.length > 0, { what: 'the message' });
});

test('[ST32] given a replica that publishes, when Redis forgets its scripts 40 times, then its publications keep their order', async () => {
  await using stack = new AsyncDisposableStack();
  const log = createInMemoryLog();
  const { redisUrl: url } = inject('storeBackend');
  const prefix = `t:${randomBytes(6).toString('hex')}:`;
  const config = {
    url,
    prefix,
    maxConnections: 6,
    connectTimeoutMs: 5_000,
    commandTimeoutMs: 5_000,
    name: 'order',
  };
  const replica = async () => {
    const metrics = createMetrics({ service: 'test', version: '0' });
    const redis = stack.use(await openRedis(config, { log, metrics }));
    return stack.use(createRedisBus({ redis, log, metrics }, { onMessage: () => {}, onReconnected: () => {} }));
  };
  const [one, two] = [await replica(), await replica()];
  const admin = new Redis(url);
  stack.defer(() => admin.disconnect());
  const retention = { size: 200, ttlMs: 60_000, metaTtlMs: 60_000 };
  // Each replica records known scripts separately: both meet the unknown script.
  const unknownScripts = async () =>
    Number(/errorstat_NOSCRIPT:count=(\d+)/.exec(await admin.info('errorstats'))?.[1] ?? 0);
  const appendOnce = (bus: typeof one) =>
    bus.append('own' as GroupKey, encodeForPublish('own' as GroupKey, { data: '1' }), { retention });
  for (const bus of [one, two]) await appendOnce(bus);
  const before = await unknownScripts();
  await admin.script('FLUSH');
  for (const bus of [one, two]) await appendOnce(bus);
  expect((await unknownScripts()) - before).toBeGreaterThanOrEqual(2);
  for (let round = 0; round < 40; round++) {
    const group = `order-${round}` as GroupKey;
    const append = (bus: typeof one, name: GroupKey, n: number) =>
      bus.append(name, encodeForPublish(name, { data: String(n) }), { retention });
    const all: Promise<{ offset: number }>[] = [];
    const meanwhile: Promise<unknown>[] = [];
    for (let n = 1; n <= 100; n++) {
      all.push(append(one, group, n));
      // Another replica makes the script known again in the middle.
      if (n % 7 === 0) meanwhile.push(append(two, `other-${round}` as GroupKey, n));
      if (n === 40 || n === 45) meanwhile.push(admin.script('FLUSH'));
      if (n % 5 === 0) await new Promise((resolve) => setImmediate(resolve));
    }
    const offsets = (await Promise.all(all)).map(({ offset }) => offset);
    await Promise.all(meanwhile);
    expect(offsets, `round ${round}`).toEqual(Array.from({ length: 100 }, (_, n) => n + 1));
  }
}, 60_000);

test('[ST35] [ST36] given a group with a broken key, when publications of one turn are made, then it fails alone, and kept and unkept publications arrive in order', async () => {
  await using stack = new AsyncDisposableStack();
  const received: string[] = [];
  const onMessage = (_: GroupKey, { body }: { readonly body: Buffer }) => received.push(String(body));
  const { redis, bus, prefix } = await openOwnBus(stack, { onMessage });
  await until(bus.isUp, { what: 'the link of the bus' });
  const [room, broken] = ['room', 'broken'] as [GroupKey, GroupKey];
  await bus.subscribe(room);
  await redis.lane().set(`${prefix}gm:{broken}`, 'not a hash');
  const retention = { size: 5, ttlMs: 60_000, metaTtlMs: 60_000 };
  const append = (group: GroupKey, n: number) =>
    bus.append(group, encodeForPublish(group, { data: String(n) }), { retention });
  const publish = (n: number) => bus.publish(room, unkeptMessage(encodeForPublish(room, { data: String(n) })));
  const outcomes = await Promise.allSettled([
    ...[append(room, 1), append(broken, 1), publish(2), append(room, 3), append(room, 4), publish(5)],
  ]);
  const rejected = { code: 'REDIS_UNAVAILABLE', isOutcomeUnknown: false };
  expect(outcomes.map((one) => (one.status === 'fulfilled' ? 'ok' : one.reason))).toEqual([
    ...['ok', expect.objectContaining(rejected), 'ok', 'ok', 'ok', 'ok'],
  ]);
  await expect(append(broken, 2)).rejects.toMatchObject(rejected);
  await until(() => received.length === 5, { what: 'all messages' });
  expect(received.map((body) => JSON.parse(body).push.pub.data)).toEqual([1, 2, 3, 4, 5]);
  expect((await bus.top(room, retention)).offset).toBe(3);
});
