import { type FaultProxy, openFaultProxy } from '@muster/testkit/fault-proxy';
import { useTestStores } from '@muster/testkit/stores';
import { until } from '@muster/testkit/wait';
import { expect, test } from 'vitest';
import { startAggregator, startTiny, type TinyInstance } from './fixture.ts';

const stores = useTestStores();
/** A tenth of the real times. */
const FAST = {
  CHECK_INTERVAL_MS: '200',
  LOCAL_FAULT_AFTER_MS: '1000',
  HEARTBEAT_INTERVAL_MS: '200',
  HEARTBEAT_TTL_MS: '2000',
};
const NAMES = ['tiny-1', 'tiny-2', 'tiny-3'];

const readiness = async ({ port }: TinyInstance): Promise<{ status: number; body: { local_fault?: string } }> => {
  const response = await fetch(`http://127.0.0.1:${port}/readyz`);
  return { status: response.status, body: (await response.json()) as { local_fault?: string } };
};
const untilReady = (tiny: TinyInstance, status: number) =>
  until(async () => (await readiness(tiny)).status, {
    ok: (seen) => seen === status,
    what: `${tiny.name} to answer ${status}`,
    timeoutMs: 30_000,
  });
const throughProxies = async (proxies: readonly FaultProxy[], redisPrefix: string, aggregator: string) => {
  const env = { ...FAST, AGGREGATOR_URLS: aggregator };
  return Promise.all(
    NAMES.map((name, index) =>
      startTiny({ redisUrl: proxies[index]?.url ?? '', redisPrefix }, { ...env, INSTANCE_NAME: name }),
    ),
  );
};

test('[LF3] [LF8] [LF9] [LF10] [HL9] [HL10] [HL25] a replica that alone cannot reach Redis leaves the pool and returns; when all cannot, none leaves', async () => {
  await using stack = new AsyncDisposableStack();
  const { redisUrl, redisPrefix } = stores;
  const front = stack.use(await openFaultProxy(redisUrl));
  const proxies = await Promise.all(NAMES.map(() => openFaultProxy(redisUrl)));
  for (const proxy of proxies) stack.use(proxy);
  const aggregator = stack.use(
    await startAggregator({ redisUrl: front.url, redisPrefix }, { PROBE_INTERVAL_MS: '200' }),
  );
  const all = await throughProxies(proxies, redisPrefix, aggregator.url);
  for (const tiny of all) stack.use(tiny);
  const [alone, ...others] = all;
  if (!alone) throw new Error('no instance');
  for (const { name } of all) {
    await until(() => aggregator.stateOf(name), {
      ok: (state) => state === 'up',
      what: `${name} to be up`,
      timeoutMs: 20_000,
    });
  }

  await proxies[0]?.blackhole();
  await untilReady(alone, 503);
  expect((await readiness(alone)).body).toMatchObject({ state: 'degraded', local_fault: 'redis' });
  for (const tiny of others) expect((await readiness(tiny)).status).toBe(200);
  await proxies[0]?.pass();
  await untilReady(alone, 200);

  // The same fault on all replicas: the aggregator, which still answers, grants no removal.
  for (const proxy of [front, ...proxies]) await proxy.blackhole();
  const untilMs = Date.now() + 3_500;
  const seen = new Set<number>();
  await until(
    async () => {
      for (const tiny of all) seen.add((await readiness(tiny)).status);
      return Date.now() > untilMs;
    },
    { what: 'the requests of all replicas', timeoutMs: 10_000, intervalMs: 100 },
  );
  expect([...seen]).toEqual([200]);
  await aggregator.app[Symbol.asyncDispose]();
  for (const tiny of all) expect((await readiness(tiny)).status).toBe(200);
}, 120_000);
