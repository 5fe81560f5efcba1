import { setTimeout as sleep } from 'node:timers/promises';
import { openDedicatedRedis } from '@muster/testkit/dedicated-store';
import { useTestStores } from '@muster/testkit/stores';
import { until } from '@muster/testkit/wait';
import { expect, test } from 'vitest';
import { startAggregator, startTiny } from '../aggregator/fixture.ts';
import { recordStates, type StateRecorder } from './state-recorder.ts';

// A real aggregator with the default settings, and the smallest processes that can be killed.

const stores = useTestStores();
let serial = 0;
const own = () => {
  serial += 1;
  return { redisUrl: stores.redisUrl, redisPrefix: `${stores.redisPrefix}${serial}:` };
};
const KILLS = 8;
const NOT_UP = ['suspect', 'down', 'gone'];
const threeUp = async (timeline: StateRecorder): Promise<string[]> => {
  const names = ['tiny-1', 'tiny-2', 'tiny-3'];
  for (const name of names) await timeline.untilState(name, ['up'], performance.now(), 15_000);
  return names;
};

test('[CH1] a killed instance is not up within 3.5 s at any phase of its probes, and its successor leaves no stale entry', async () => {
  const mine = own();
  await using aggregator = await startAggregator(mine);
  await using timeline = recordStates(aggregator.url);
  const times: number[] = [];
  for (let round = 0; round < KILLS; round += 1) {
    const name = `tiny-${round}`;
    await using tiny = await startTiny(mine, { INSTANCE_NAME: name });
    await timeline.untilState(name, ['up'], performance.now(), 15_000);
    // Somewhere within a period of its probes.
    await sleep((2_000 * round) / KILLS);
    const killedAt = performance.now();
    tiny.kill('SIGKILL');
    times.push(await timeline.untilState(name, NOT_UP, killedAt, 10_000));
  }
  expect(Math.max(...times), `${times.map(Math.round)}\n${timeline.text()}`).toBeLessThanOrEqual(3_500);

  await using first = await startTiny(mine, { INSTANCE_NAME: 'tiny-x' });
  await timeline.untilState('tiny-x', ['up'], performance.now(), 15_000);
  first.kill('SIGKILL');
  await first.ended();
  await using _second = await startTiny(mine, {
    ...{ INSTANCE_NAME: 'tiny-x', PORT: String(first.port), OPS_PORT: String(first.opsPort) },
  });
  await until(async () => (await aggregator.request('/v1/fleet')).body.services, {
    ok: (services) => {
      const named = services.flatMap(({ instances }: { instances: { name: string; state: string }[] }) =>
        instances.filter(({ name }) => name === 'tiny-x'),
      );
      return named.length === 1 && named[0].state === 'up';
    },
    what: 'one life of this name, up',
    timeoutMs: 4_000,
  });
});

test('[CH2] a hanging instance is down within 7 s, and up within 6 s after it continues', async () => {
  const mine = own();
  await using aggregator = await startAggregator(mine);
  await using timeline = recordStates(aggregator.url);
  await using tiny = await startTiny(mine);
  await timeline.untilState('tiny-1', ['up'], performance.now(), 15_000);
  const hungAt = performance.now();
  tiny.kill('SIGSTOP');
  expect(await timeline.untilState('tiny-1', ['down'], hungAt), timeline.text()).toBeLessThanOrEqual(7_000);
  await sleep(5_000);
  const resumedAt = performance.now();
  tiny.kill('SIGCONT');
  // Its heartbeat is seen, and two good probes three seconds apart.
  expect(await timeline.untilState('tiny-1', ['up'], resumedAt), timeline.text()).toBeLessThanOrEqual(6_500);
});

test('[CH8] most of a service killed at once is down at once; most of it hanging at once is down after 20 s', async () => {
  const mine = own();
  await using aggregator = await startAggregator(mine, { EXPECTED: 'tiny=3' });
  await using timeline = recordStates(aggregator.url);
  await using one = await startTiny(mine, { INSTANCE_NAME: 'tiny-1' });
  await using two = await startTiny(mine, { INSTANCE_NAME: 'tiny-2' });
  await using _three = await startTiny(mine, { INSTANCE_NAME: 'tiny-3' });
  await threeUp(timeline);
  const hungAt = performance.now();
  for (const tiny of [one, two]) tiny.kill('SIGSTOP');
  const first = Math.min(
    ...(await Promise.all([one, two].map(({ name }) => timeline.untilState(name, ['down'], hungAt, 40_000)))),
  );
  expect(first, timeline.text()).toBeGreaterThan(18_000);
  expect(first, timeline.text()).toBeLessThan(30_000);
  for (const tiny of [one, two]) tiny.kill('SIGCONT');
  await threeUp(timeline);
  const killedAt = performance.now();
  for (const tiny of [one, two]) tiny.kill('SIGKILL');
  for (const { name } of [one, two]) {
    expect(await timeline.untilState(name, ['down'], killedAt), timeline.text()).toBeLessThanOrEqual(5_000);
  }
  await until(async () => (await aggregator.request('/health/tiny')).body, {
    ok: ({ status, up, expected }) => status === 'degraded' && up === 1 && expected === 3,
    what: 'one of three, degraded',
  });
});

test('[CH9] an instance that stops and starts every few seconds is flapping after the fourth stop', async () => {
  const mine = own();
  await using aggregator = await startAggregator(mine);
  await using timeline = recordStates(aggregator.url);
  let [port, opsPort] = ['0', '0'];
  for (let fall = 1; fall <= 4; fall += 1) {
    await using tiny = await startTiny(mine, { PORT: port, OPS_PORT: opsPort });
    [port, opsPort] = [String(tiny.port), String(tiny.opsPort)];
    await timeline.untilState('tiny-1', ['up', 'degraded'], performance.now(), 15_000);
    const killedAt = performance.now();
    tiny.kill('SIGKILL');
    await timeline.untilState('tiny-1', ['down'], killedAt, 10_000);
  }
  await using _last = await startTiny(mine, { PORT: port, OPS_PORT: opsPort });
  await timeline.untilState('tiny-1', ['degraded'], performance.now(), 15_000);
  // A process that starts may be called slow first.
  await until(async () => (await aggregator.request('/health/tiny/tiny-1')).body, {
    ok: ({ why }) => why === 'flapping',
    what: 'flapping as the reason',
  });
});

test('[CH10] an aggregator that starts without Redis is ready, and reports nothing as healthy', async () => {
  await using redis = await openDedicatedRedis();
  const { url } = redis;
  await redis.stop();
  await using aggregator = await startAggregator({ redisUrl: url, redisPrefix: 'cold:' });
  expect((await aggregator.request('/readyz')).status).toBe(200);
  expect((await aggregator.request('/sd/prometheus?service=tiny')).status).toBe(503);
  const health = await aggregator.request('/health');
  expect(health).toMatchObject({ status: 503, body: { status: expect.not.stringMatching(/^healthy$/) } });
});

test('[CH14] an instance whose event loop stalls for 400 ms each second is degraded for that reason, never down', async () => {
  const mine = own();
  await using aggregator = await startAggregator(mine);
  await using timeline = recordStates(aggregator.url);
  await using _tiny = await startTiny(mine, { STALL_MS: '400' });
  await timeline.untilState('tiny-1', ['up', 'degraded'], performance.now(), 15_000);
  const upAt = performance.now();
  expect(await timeline.untilState('tiny-1', ['degraded'], upAt), timeline.text()).toBeLessThanOrEqual(12_000);
  await until(async () => (await aggregator.request('/health/tiny/tiny-1')).body, {
    ok: ({ why }) => why === 'loop_slow',
    what: 'a slow loop as the reason',
  });
  await sleep(5_000);
  expect(timeline.namesEverIn('down'), timeline.text()).toEqual([]);
});
