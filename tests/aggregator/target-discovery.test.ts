import { useTestStores } from '@muster/testkit/stores';
import { until } from '@muster/testkit/wait';
import { expect, test } from 'vitest';
import { FAST, startAggregator, startTiny, type TestAggregator } from './fixture.ts';

const stores = useTestStores();
const tinies = async (aggregator: TestAggregator): Promise<string[]> => {
  const { body } = await aggregator.request('/v1/fleet');
  const service = body.services.find((one: { service: string }) => one.service === 'tiny');
  return service.instances.map(
    ({ name, state, why }: Record<string, string>) => `${name} ${state}${state === 'up' ? '' : ` ${why}`}`,
  );
};

test('[TG2] [TG4] [TG5] given a target with another registry, it is shown as unregistered; a registered target is shown once', async () => {
  await using elsewhere = await startTiny(
    { redisUrl: stores.redisUrl, redisPrefix: `${stores.redisPrefix}elsewhere:` },
    { ...FAST, INSTANCE_NAME: 'tiny-elsewhere' },
  );
  await using here = await startTiny(stores, { ...FAST, INSTANCE_NAME: 'tiny-here' });
  await using aggregator = await startAggregator(stores, {
    ...FAST,
    TARGETS: `tiny=localhost:${elsewhere.port},tiny=127.0.0.1:${here.port},tiny=name.that.is.not.invalid:1`,
  });
  const shown = (state: string) => ['tiny-here up', `tiny-unregistered-1 ${state}`];
  await until(() => tinies(aggregator), {
    ok: (seen) => seen.includes('tiny-here up') && seen.includes('tiny-unregistered-1 degraded unregistered'),
    what: 'both, each once',
    timeoutMs: 20_000,
  });
  expect((await aggregator.request('/health/tiny')).body.status).toBe('degraded');
  expect(JSON.stringify((await aggregator.request('/v1/fleet')).body)).not.toContain(String(elsewhere.port));
  elsewhere.kill('SIGKILL');
  await until(() => tinies(aggregator), {
    ok: (seen) => seen.includes(shown('down refused')[1] ?? ''),
    what: 'the loss',
    timeoutMs: 20_000,
  });
}, 60_000);
