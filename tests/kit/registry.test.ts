import { systemClock } from '@muster/kit/clock';
import { monitorEventLoop } from '@muster/kit/event-loop-delay';
import { createHeartbeat, registryKeys } from '@muster/kit/fleet/heartbeat';
import type { InstanceIdentity } from '@muster/kit/fleet/instance';
import { readRegistry } from '@muster/kit/fleet/registry';
import { createHealth } from '@muster/kit/health';
import { createMetrics } from '@muster/kit/metrics';
import { openRedis, type RedisConnections } from '@muster/kit/redis/connection';
import { systemRandom } from '@muster/kit/runtime';
import { createInMemoryLog } from '@muster/testkit/in-memory-log';
import { testStores } from '@muster/testkit/stores';
import { until } from '@muster/testkit/wait';
import { afterAll, beforeAll, expect, test } from 'vitest';

const log = createInMemoryLog();
const clock = systemClock;
let stack: AsyncDisposableStack;
let redis: RedisConnections;

beforeAll(async () => {
  stack = new AsyncDisposableStack();
  const stores = stack.use(await testStores());
  const metrics = createMetrics({ service: 'test', version: '0' });
  redis = stack.use(
    await openRedis(
      {
        url: stores.redisUrl,
        prefix: stores.redisPrefix,
        maxConnections: 5,
        connectTimeoutMs: 1_000,
        commandTimeoutMs: 1_000,
        name: 'registry-test',
      },
      { log, metrics },
    ),
  );
});
afterAll(() => stack.disposeAsync());

const instance = (id: string, address: string, fleet: string): InstanceIdentity => ({
  ...{
    id,
    address,
    fleet,
    name: `name-${address}`,
    service: 'sample',
    version: '0',
    opsAddress: `${address}9`,
  },
  startedAt: clock.now(),
});

const beatOf = (one: InstanceIdentity) => {
  const metrics = createMetrics({ service: 'test', version: '0' });
  const health = createHealth({ clock, log, metrics, checks: {} });
  const loop = monitorEventLoop(50, metrics);
  return createHeartbeat({
    ...{ loop, redis, instance: one, health, clock, random: systemRandom, log },
    ...{ load: () => ({ connections: 3 }), intervalMs: 50, ttlMs: 400 },
  });
};
const registry = (fleet: string) => readRegistry(redis.lane(), redis.prefix, fleet);

test('[BT1] [BT7] given a process with heartbeats, then it is listed until it is disposed', async () => {
  const beat = beatOf(instance('01', 'a:1', 'one'));
  const { beats } = await until(async () => await registry('one'), {
    ok: (seen) => seen.beats.length === 1,
    what: 'a first beat',
  });
  expect(beats[0]).toMatchObject({
    id: '01',
    name: 'name-a:1',
    state: 'ready',
    load: { connections: 3 },
    pid: process.pid,
  });
  await beat[Symbol.asyncDispose]();
  expect(await registry('one')).toMatchObject({ beats: [], ids: [] });
});

test('[BT2] after a restart in place only the newer process is listed', async () => {
  await using _older = beatOf(instance('01', 'a:1', 'two'));
  await until(() => registry('two'), { ok: (seen) => seen.ids.length === 1, what: 'the older process' });
  await using _newer = beatOf(instance('02', 'a:1', 'two'));
  const seen = await until(() => registry('two'), {
    ok: ({ ids }) => ids.includes('02'),
    what: 'the newer process',
  });
  expect(seen.ids).toEqual(['02']);
});

test('[BT3] given a process whose address was taken, then it is notified that it is superseded', async () => {
  await using older = beatOf(instance('01', 'a:1', 'three'));
  await until(() => registry('three'), { ok: (seen) => seen.ids.length === 1, what: 'the older process' });
  await using _newer = beatOf(instance('02', 'a:1', 'three'));
  await until(async () => older.isSuperseded(), { ok: Boolean, what: 'the older process to learn it' });
  expect((await registry('three')).ids).toEqual(['02']);
});

test('[BT4] given a process whose heartbeats stop, then it is listed without a heartbeat', async () => {
  const beat = beatOf(instance('01', 'a:1', 'four'));
  await until(() => registry('four'), { ok: (seen) => seen.beats.length === 1, what: 'a first beat' });
  // Heartbeats continue, so a late read may miss the state.
  const seen = await until(
    async () => {
      await redis.lane().del(`${redis.prefix}fleet:{four}:beat:01`);
      return registry('four');
    },
    { ok: ({ beats }) => beats.length === 0, what: 'a look between two beats', timeoutMs: 15_000 },
  );
  expect(seen.ids).toEqual(['01']);
  await beat[Symbol.asyncDispose]();
});

test('[BT5] [BT8] given directives, then drain withdraws readiness once and resume restores it', async () => {
  const metrics = createMetrics({ service: 'test', version: '0' });
  const health = createHealth({ clock, log, metrics, checks: {} });
  const heard: string[] = [];
  await using _beat = createHeartbeat({
    ...{
      loop: monitorEventLoop(50, metrics),
      redis,
      instance: instance('05', 'e:1', 'five'),
      health,
      clock,
      random: systemRandom,
      log,
    },
    ...{ load: () => ({}), intervalMs: 50, ttlMs: 400, onDirective: ({ kind }) => heard.push(kind) },
  });
  const key = registryKeys(redis.prefix, 'five').directive('05');
  const stateIn = async () => (await registry('five')).beats[0]?.state;
  await redis.lane().set(key, JSON.stringify({ kind: 'drain', at: 1 }));
  await until(async () => (await stateIn()) === 'draining', { what: 'a withdrawn process' });
  expect(health.state()).toBe('draining');
  await redis.lane().set(key, 'nonsense');
  await redis.lane().set(key, JSON.stringify({ kind: 'resume', at: 2 }));
  await until(async () => (await stateIn()) === 'ready', { what: 'a restored process' });
  await redis.lane().set(key, JSON.stringify({ kind: 'drain', at: 2 }));
  await new Promise((resolve) => setTimeout(resolve, 200));
  expect(heard).toEqual(['drain', 'resume']);
  health.withdraw();
  health.startDraining();
  health.restore();
  expect(health.state()).toBe('draining');
});

test('[BT6] a heartbeat reports delay and utilisation of the event loop', async () => {
  await using _beat = beatOf(instance('06', 'f:1', 'six'));
  const readings = async () => (await registry('six')).beats[0]?.load ?? {};
  // Blocks the event loop for longer than the TTL of a heartbeat, again and again.
  const stall = setInterval(() => {
    const until = performance.now() + 80;
    while (performance.now() < until);
  }, 100);
  await until(readings, {
    ok: ({ loopP99Ms = 0, loopUtilisation = 0 }) => loopP99Ms > 40 && loopUtilisation > 0.5,
    what: 'the stalls to be told',
    timeoutMs: 15_000,
  }).finally(() => clearInterval(stall));
  await until(readings, {
    ok: ({ loopUtilisation = 1 }) => loopUtilisation < 0.5,
    what: 'the calm to be told',
    timeoutMs: 15_000,
  });
});
