import { createRebalanceRounds } from '@muster/health-aggregator/stores/rebalance-rounds';
import { aggregatorKeys } from '@muster/health-aggregator/stores/redis-keys';
import { readSettings } from '@muster/kit/config';
import { redisConfig, redisSettings } from '@muster/kit/config-common';
import { registryKeys } from '@muster/kit/fleet/heartbeat';
import { createMetrics } from '@muster/kit/metrics';
import { openRedis } from '@muster/kit/redis/connection';
import { createInMemoryLog } from '@muster/testkit/in-memory-log';
import { useTestStores } from '@muster/testkit/stores';
import { until } from '@muster/testkit/wait';
import { Redis } from 'ioredis';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { z } from 'zod';
import { readMetric } from '../observability/read-metric.ts';
import { FAST, startAggregator, startTiny } from './fixture.ts';

const stores = useTestStores();
const SHORT = {
  ...FAST,
  EXPECTED: 'ws-gateway=2',
  LEADER_LEASE_MS: '1000',
  REBALANCE_AFTER_MS: '1000',
  REBALANCE_SETTLE_MS: '2000',
};
let redis: Redis;
let stack = new AsyncDisposableStack();
beforeAll(() => {
  redis = new Redis(stores.redisUrl);
});
afterAll(() => redis.disconnect());
afterEach(async () => {
  await stack.disposeAsync();
  stack = new AsyncDisposableStack();
  await redis.del(registry().events, keys().rebalanceRound, keys().epoch);
});

const registry = () => registryKeys(stores.redisPrefix, 'muster');
const keys = () => aggregatorKeys(stores.redisPrefix, 'muster');
/** Rebalances in the event stream of the fleet. */
const events = async (): Promise<{ mode: string | undefined; plan: { name: string; count: number }[] }[]> =>
  (await redis.xrange(registry().events, '-', '+')).flatMap(([, fields]) => {
    const entry = Object.fromEntries(fields.flatMap((value, at) => (at % 2 ? [] : [[value, fields[at + 1]]])));
    return entry['type'] === 'rebalance' ? [{ mode: entry['mode'], plan: JSON.parse(entry['plan'] ?? '[]') }] : [];
  });
const startGateways = async (...counts: number[]) => {
  for (const [index, count] of counts.entries()) {
    const env = { SERVICE: 'ws-gateway', INSTANCE_NAME: `gw-${index}`, CONNECTIONS: String(count) };
    stack.use(await startTiny(stores, { ...FAST, ...env }));
  }
};
const decisionsOf = ({ opsUrl }: { opsUrl: string }, result: string) =>
  readMetric(opsUrl, `fleet_rebalance_decisions_total{result="${result}"}`);

test('[RX6] [RX9] given two aggregators, when the leader stops after a round, then the other continues with the next, and each is recorded once', async () => {
  await startGateways(300, 20);
  const first = await startAggregator(stores, { ...SHORT, INSTANCE_NAME: 'first' });
  const second = stack.use(await startAggregator(stores, { ...SHORT, INSTANCE_NAME: 'second' }));
  await until(async () => (await events()).length === 1, { what: 'the first round', timeoutMs: 20_000 });
  const plan = [{ name: 'gw-0', count: 140 }];
  expect(await events()).toMatchObject([{ mode: 'on', plan }]);
  await until(() => first.log.of('rebalance.decided').length === 1, { what: 'the line of the leader' });
  expect(first.log.of('rebalance.decided')).toMatchObject([{ fields: { moves: 140, gateways: { 'gw-0': 140 } } }]);
  expect([await decisionsOf(first, 'issued'), await decisionsOf(second, 'issued')]).toEqual([1, 0]);
  expect(await readMetric(first.opsUrl, 'fleet_rebalance_moves_requested_total')).toBe(140);
  await first[Symbol.asyncDispose]();
  await until(async () => (await events()).length === 2, { what: 'the second round', timeoutMs: 30_000 });
  expect(await decisionsOf(second, 'issued')).toBe(1);
  // These gateways move nothing.
  await until(() => second.log.of('rebalance.ineffective').length === 1, { what: 'the end', timeoutMs: 30_000 });
  expect(await events()).toHaveLength(2);
}, 90_000);

test('[RX8] [RX10] given a dry run and an aggregator without rebalances, when gateways are out of balance, then decisions are recorded and nothing is moved', async () => {
  await startGateways(300, 20);
  const dry = stack.use(await startAggregator(stores, { ...SHORT, REBALANCE: 'dry-run' }));
  await until(() => dry.log.of('rebalance.decided').length === 1, { what: 'a decision', timeoutMs: 20_000 });
  expect(dry.log.of('rebalance.decided')).toMatchObject([{ fields: { moves: 140, isDryRun: true } }]);
  expect((await events()).map(({ mode }) => mode)).toEqual(['dry-run']);
  expect(await redis.keys(registry().directive('*'))).toEqual([]);
  expect(await readMetric(dry.opsUrl, 'fleet_rebalance_moves_requested_total')).toBe(0);
  const off = stack.use(await startAggregator(stores, { ...SHORT, INSTANCE_NAME: 'off', REBALANCE: 'off' }));
  expect(await readMetric(off.opsUrl, 'fleet_rebalance_state')).toBe(0);
});

test('[RX6] [RX7] given a round, when it is repeated, or issued by a former leader or against a drain, then nothing happens', async () => {
  const env = { REDIS_URL: stores.redisUrl, REDIS_PREFIX: stores.redisPrefix };
  const config = { ...redisConfig(readSettings(z.object(redisSettings), env)), name: 'test' };
  const metrics = createMetrics({ service: 'test', version: '1' });
  const connections = stack.use(await openRedis(config, { log: createInMemoryLog(), metrics }));
  const rounds = createRebalanceRounds(connections, keys(), 'muster');
  const plan = [
    { id: 'drained', name: 'gw-0', count: 5, perSecond: 1 },
    { id: 'full', name: 'gw-1', count: 7, perSecond: 2 },
  ];
  const limits = { minAgeMs: 60_000, cooldownMs: 3_600_000 };
  const issue = (epoch: number) => rounds.issue({ epoch, plan, roundMs: 5_000, isDryRun: false, limits });
  await redis.set(keys().epoch, '4');
  const drain = JSON.stringify({ kind: 'drain', at: 1 });
  await redis.set(registry().directive('drained'), drain);
  expect(await issue(3)).toBe('refused');
  expect(await issue(4)).toBe('issued');
  expect(await issue(4)).toBe('repeated');
  expect(await redis.get(registry().directive('drained'))).toBe(drain);
  const directive = JSON.parse((await redis.get(registry().directive('full'))) ?? '');
  expect(directive).toEqual({ kind: 'shed', at: expect.any(Number), count: 7, perSecond: 2, ...limits });
  expect(await redis.pttl(registry().directive('full'))).toBeLessThanOrEqual(10_000);
  expect(await events()).toHaveLength(1);
  await redis.del(registry().directive('drained'));
});
