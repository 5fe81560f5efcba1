import { dependencyFaultOf } from '@muster/kit/dependency-faults';
import { createMetrics } from '@muster/kit/metrics';
import { isRedisFault, openRedis, type RedisConnections } from '@muster/kit/redis/connection';
import { openDedicatedRedisSentinel } from '@muster/testkit/dedicated-redis-sentinel';
import { type DedicatedStore, openDedicatedRedis } from '@muster/testkit/dedicated-store';
import { createInMemoryLog } from '@muster/testkit/in-memory-log';
import { until } from '@muster/testkit/wait';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, expect, test } from 'vitest';

let stack: AsyncDisposableStack;
let server: DedicatedStore;

beforeAll(async () => {
  stack = new AsyncDisposableStack();
  server = stack.use(await openDedicatedRedis());
});
afterAll(() => stack.disposeAsync());

const open = (maxConnections = 20, url = server.url) => {
  const metrics = createMetrics({ service: 'test', version: '0' });
  const config = {
    url,
    prefix: 't:',
    maxConnections,
    connectTimeoutMs: 1_000,
    commandTimeoutMs: 500,
  };
  return openRedis({ ...config, name: 'kit-test' }, { log: createInMemoryLog(), metrics });
};
const fault = { ok: isRedisFault, what: 'a fault' };

test('[RD1] [RD4] given Redis is unavailable, then commands fail at once, and work once it is available', async () => {
  await using redis = await open();
  await redis.ping();
  await server.stop();
  await until(() => redis.ping().catch((error: unknown) => error), fault);
  const begun = performance.now();
  await expect(redis.lane().get('x')).rejects.toSatisfy(isRedisFault);
  expect(performance.now() - begun).toBeLessThan(450);
  await server.start();
  await until(
    () =>
      redis.ping().then(
        () => true,
        () => false,
      ),
    { ok: Boolean, what: 'Redis to be back' },
  );
});

test('[RD13] given lost subscriptions, when Redis is available, then they are restored', async () => {
  await using redis = await open();
  const heard: string[] = [];
  const subscriber = redis.dedicated('sub');
  subscriber.on('message', (_channel, text) => heard.push(text));
  await subscriber.subscribe('t:news');
  await server.stop();
  await server.start();
  await until(
    async () => {
      await redis
        .lane()
        .publish('t:news', 'again')
        .catch(() => 0);
      return heard.length;
    },
    { ok: (count) => count > 0, what: 'a message after the restart' },
  );
});

test('[RD2] the cap counts every connection', async () => {
  await using redis = await open(3);
  redis.dedicated('sub');
  expect(() => redis.dedicated('one too many')).toThrow(/REDIS_MAX_CONNECTIONS \(3\)/);
});

test('[RD3] [RD12] a retried command runs once more after a Redis fault, not after an error of the command', async () => {
  await using redis = await open();
  let runs = 0;
  const answer = await redis.retry(async (lane) => {
    runs += 1;
    if (runs === 1) throw new Error('Command timed out');
    return lane.set('t:a', '1');
  });
  expect([answer, runs]).toEqual(['OK', 2]);
  runs = 0;
  const wrong = redis.retry((lane) => {
    runs += 1;
    return lane.incrby('t:a', 'much');
  });
  await expect(wrong).rejects.toThrow(/not an integer/);
  expect(runs).toBe(1);
});

test('[RD5] [RD14] commands are timed by name, and failures counted by reason', async () => {
  const metrics = createMetrics({ service: 'test', version: '0' });
  const config = {
    url: server.url,
    prefix: 't:',
    maxConnections: 5,
    connectTimeoutMs: 1_000,
    commandTimeoutMs: 500,
  };
  await using redis = await openRedis({ ...config, name: 'kit-test' }, { log: createInMemoryLog(), metrics });
  await redis.lane().set('t:b', 'text');
  await redis
    .lane()
    .incr('t:b')
    .catch(() => {});
  await redis.lane().call('OBJECT', 'ENCODING', 't:b');
  const text = await metrics.render();
  expect(text).toMatch(/redis_client_command_duration_seconds_count\{client="command-\d",command="set"\} 1/);
  expect(text).toMatch(/redis_client_command_duration_seconds_count\{client="command-\d",command="other"\} 1/);
  expect(text).toMatch(/redis_client_command_errors_total\{client="command-\d",reason="other"\} 1/);
  expect(text).toMatch(/redis_client_offline_queue_length\{client="command-0"\} 0/);
});

test('[RD8] commands of one turn reach the server in one write, in order', async () => {
  await using redis = await open();
  const lane = redis.lane();
  await lane.del('t:turn');
  const readsOf = async () => Number(/total_reads_processed:(\d+)/.exec(await lane.info('stats'))?.[1] ?? Number.NaN);
  const before = await readsOf();
  const answers = await Promise.all(Array.from({ length: 200 }, (_, at) => lane.rpush('t:turn', at)));
  // Other connections, such as those of other tests, may add a few.
  expect((await readsOf()) - before).toBeLessThan(100);
  expect(answers).toEqual(Array.from({ length: 200 }, (_, at) => at + 1));
  expect(await lane.lrange('t:turn', 0, -1)).toEqual(Array.from({ length: 200 }, (_, at) => String(at)));
});

/** Reason that the check of Redis gives; undefined while it is up. */
const checked = async (redis: RedisConnections): Promise<string | undefined> => {
  try {
    await redis.ping();
    return undefined;
  } catch (error) {
    // Whatever a service does meanwhile is answered 503, not 500.
    expect(isRedisFault(error)).toBe(true);
    return dependencyFaultOf(error);
  }
};
const untilReason = (redis: RedisConnections, reason: string | undefined) =>
  until(() => checked(redis), { ok: (now) => now === reason, what: String(reason) });

test('[RD9] given a missing permission, then the check fails with that reason', async () => {
  const admin = new Redis(server.url);
  const allow = (...rules: string[]) => admin.call('ACL', 'SETUSER', 'app', 'reset', 'on', '>pw', ...rules);
  const enough = ['~t:*', '&t:*', '+@all'];
  await allow(...enough);
  await using redis = await open(20, server.url.replace('redis://', 'redis://app:pw@'));
  expect(await checked(redis)).toBeUndefined();
  for (const rules of [
    ['~t:*', '+@all'], // Common mistakes: no channels.
    ['&t:*', '+@all'],
    [...enough, '-@scripting'],
    [...enough, '-publish'],
    [...enough, '-set'],
    [...enough, '-evalsha'],
  ]) {
    await allow(...rules);
    expect([rules, await checked(redis)]).toEqual([rules, 'permission']);
  }
  await allow(...enough);
  expect(await checked(redis)).toBeUndefined();
  await admin.call('ACL', 'SETUSER', 'app', 'resetpass', '>another');
  await admin.call('CLIENT', 'KILL', 'USER', 'app');
  await untilReason(redis, 'auth');
  await admin.call('ACL', 'SETUSER', 'app', '>pw');
  await untilReason(redis, undefined);
  admin.disconnect();
});

test('[RD9] [RD15] given a full Redis, a replica or an unknown database, then the check fails with that reason, and nothing is written to database 0', async () => {
  const admin = new Redis(server.url);
  await using redis = await open();
  await admin.config('SET', 'maxmemory', '1');
  await untilReason(redis, 'full');
  await admin.config('SET', 'maxmemory', '0');
  await untilReason(redis, undefined);
  await admin.replicaof('127.0.0.1', 1);
  await untilReason(redis, 'read_only');
  await admin.replicaof('NO', 'ONE');
  await untilReason(redis, undefined);
  await admin.flushall();
  admin.disconnect();
  await expectNothingInDatabase0(server.url, server.url);
});

test('[RD9] given an unknown database behind sentinels, then the check fails with that reason', async () => {
  await using sentinels = await openDedicatedRedisSentinel();
  await expectNothingInDatabase0(sentinels.url, sentinels.servers[0].url);
}, 60_000);

/** Connects to a database that does not exist, and to an existing database. */
const expectNothingInDatabase0 = async (url: string, primaryUrl: string): Promise<void> => {
  const admin = new Redis(primaryUrl);
  await using elsewhere = await open(20, `${url}/99`);
  await untilReason(elsewhere, 'wrong_database');
  await expect(elsewhere.lane().set('t:lost', '1')).rejects.toSatisfy(isRedisFault);
  expect(await admin.keys('t:lost')).toEqual([]);
  await using second = await open(20, `${url}/1`);
  await second.lane().set('t:kept', '1');
  expect(await admin.exists('t:kept')).toBe(0);
  admin.disconnect();
};
