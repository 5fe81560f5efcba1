import { useTestStores } from '@muster/testkit/stores';
import { until } from '@muster/testkit/wait';
import { expect, test } from 'vitest';
import { startAggregator, type TestAggregator } from './fixture.ts';

const stores = useTestStores();

/** Seconds that the history of the aggregators' own service holds for today. */
const counted = async (aggregator: TestAggregator): Promise<number> => {
  const { body } = await aggregator.request('/v1/history?service=health-aggregator&days=1');
  const seconds: Record<string, number> = body.items?.[0]?.days[0]?.seconds ?? {};
  return Object.values(seconds).reduce((sum, one) => sum + one, 0);
};

test('[HY4] when the aggregator that wrote history stops, the history remains', async () => {
  const first = await startAggregator(stores);
  await until(async () => (await counted(first)) >= 1, {
    what: 'some history',
    timeoutMs: 20_000,
    intervalMs: 200,
  });
  const before = await counted(first);
  await first[Symbol.asyncDispose]();
  await using second = await startAggregator(stores);
  await until(async () => (await counted(second)) >= before, { what: 'the same history', timeoutMs: 2_000 });
  const { body } = await second.request('/v1/history');
  expect(body.items.map(({ service }: { service: string }) => service)).toContain('fleet');
  expect(body.items[0].days).toHaveLength(90);
}, 40_000);

test('[HY8] given an invalid query or an unknown service, history answers 422 or 404', async () => {
  await using aggregator = await startAggregator(stores);
  for (const days of ['0', '91', 'x', '1.5']) {
    const { status, body } = await aggregator.request(`/v1/history?days=${days}`);
    expect([days, status, body.detail?.[0].loc]).toEqual([days, 422, ['query', 'days']]);
  }
  expect((await aggregator.request('/v1/history?service=unknown')).status).toBe(404);
  expect((await aggregator.request('/v1/incidents?state=old')).status).toBe(422);
});
