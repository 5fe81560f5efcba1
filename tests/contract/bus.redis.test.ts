import { randomUUID } from 'node:crypto';
import { busConformance } from '@muster/bus/conformance';
import { createRedisBus } from '@muster/bus/redis';
import { createLogger } from '@muster/kit/logger';
import { createMetrics } from '@muster/kit/metrics';
import { openRedis } from '@muster/kit/redis';
import { afterAll, beforeAll, expect } from 'vitest';
import { type OwnRedis, startOwnRedis } from './own-redis.ts';
import { openTcpSwitch } from './tcp-switch.ts';

const log = createLogger({ level: 'silent', service: 'test', instance: 'test' });
let redis: OwnRedis;
beforeAll(async () => {
  redis = await startOwnRedis();
});
afterAll(() => redis[Symbol.asyncDispose]());

busConformance('Redis', async () => {
  const link = await openTcpSwitch({ host: '127.0.0.1', port: redis.port });
  const prefix = `test:${randomUUID()}:`;
  await using stack = new AsyncDisposableStack();
  stack.use(link);
  const owned = stack.move();
  return {
    connect: async (handlers) => {
      const metrics = createMetrics({ service: 'test', version: '0' });
      const config = {
        url: `redis://127.0.0.1:${link.port}`,
        prefix,
        maxConnections: 6,
        connectTimeoutMs: 1000,
        commandTimeoutMs: 1000,
        name: 'bus-test',
      };
      const connections = await openRedis(config, { log, metrics });
      owned.use(connections);
      const bus = createRedisBus({ redis: connections, log, metrics }, handlers);
      await expect.poll(() => bus.isUp()).toBe(true);
      return bus;
    },
    cut: async () => link.cut(),
    restore: async () => link.restore(),
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
});
