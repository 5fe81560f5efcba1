import { randomBytes } from 'node:crypto';
import { busConformance } from '@muster/bus/conformance';
import { createRedisBus } from '@muster/bus/redis';
import { createMetrics } from '@muster/kit/metrics';
import { openRedis } from '@muster/kit/redis';
import { openFaultProxy } from '@muster/testkit/fault-proxy';
import { createQuietLog } from '@muster/testkit/quiet-log';
import { until } from '@muster/testkit/wait';
import { Redis } from 'ioredis';
import { inject } from 'vitest';

busConformance('Redis', async () => {
  await using stack = new AsyncDisposableStack();
  const link = stack.use(await openFaultProxy(inject('backing').redisUrl));
  const prefix = `t:${randomBytes(6).toString('hex')}:`;
  const owned = stack.move();
  return {
    connect: async (handlers) => {
      const log = createQuietLog();
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
      const redis = new Redis(inject('backing').redisUrl);
      const keys = await redis.keys(`${prefix}*`);
      if (keys.length > 0) await redis.del(...keys);
      redis.disconnect();
    },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
});
