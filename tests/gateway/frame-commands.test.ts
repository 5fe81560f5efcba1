import { randomBytes } from 'node:crypto';
import { createRedisBus } from '@muster/bus/redis-broker';
import { createRedisPresence } from '@muster/bus/redis-presence';
import { createMetrics } from '@muster/kit/metrics';
import { openRedis } from '@muster/kit/redis/connection';
import { createInMemoryLog } from '@muster/testkit/in-memory-log';
import { until } from '@muster/testkit/wait';
import { engineUnderTest } from '@muster/ws-gateway/core/engine-fixture';
import type { Redis } from 'ioredis';
import { expect, inject, test, vi } from 'vitest';

test('[GM16] given connect and subscribe commands in one frame, when they are performed, then their groups are opened by three commands', async () => {
  await using stack = new AsyncDisposableStack();
  const log = createInMemoryLog();
  const metrics = createMetrics({ service: 'test', version: '0' });
  const { redisUrl: url } = inject('storeBackend');
  const prefix = `t:${randomBytes(6).toString('hex')}:`;
  // One connection for commands, one for subscriptions.
  const config = { url, prefix, maxConnections: 2, connectTimeoutMs: 1000, commandTimeoutMs: 1000, name: 'frame' };
  const opened = stack.use(await openRedis(config, { log, metrics }));
  const links: Redis[] = [];
  const redis = {
    ...opened,
    dedicated: (purpose: string) => {
      const link = opened.dedicated(purpose);
      links.push(link);
      return link;
    },
  };
  const { client, engine } = engineUnderTest({
    broker: { connect: (handlers: never) => stack.use(createRedisBus({ redis, log, metrics }, handlers)) } as never,
    presence: { connect: (handlers: never) => stack.use(createRedisPresence({ redis, log }, handlers)) } as never,
    limits: { maxSubscriptions: 5 },
    groups: { retention: { size: 5, ttlMs: 60_000, metaTtlMs: 120_000 }, presence: true },
  });
  await until(engine.bus.isUp, { what: 'the link of the bus' });
  const [link] = links;
  if (link === undefined) throw new Error('the bus has no connection');
  const scripts = vi.spyOn(redis.lane() as Redis, 'evalsha');
  const subscribes = vi.spyOn(link, 'subscribe');

  const { wire, connection } = client();
  const commands = ['a', 'b', 'c', 'd', 'e'].map((channel, n) => ({ id: n + 2, subscribe: { channel } }));
  const frame = [{ id: 1, connect: { token: 'ann' } }, ...commands];
  connection.onFrame(frame.map((command) => JSON.stringify(command)).join('\n'));
  await until(() => wire.messages.length > 0, { what: 'the replies' });

  expect(wire.take()).toMatchObject([
    { id: 1, connect: {} },
    ...commands.map(({ id }) => ({ id, subscribe: { recoverable: true, positioned: true } })),
  ]);
  expect(wire.writes).toBe(1);
  expect(subscribes.mock.calls.map((channels) => channels.length)).toEqual([5]);
  // Keys: stream and meta of each group; the index and the presence of each group.
  expect(scripts.mock.calls.map(([, keys]) => keys)).toEqual([6, 10]);
});
