import { createFleetState } from '@muster/health-aggregator/core/fleet';
import { startSyntheticCheckJob } from '@muster/health-aggregator/jobs/synthetic-check-job';
import { aggregatorKeys } from '@muster/health-aggregator/stores/redis-keys';
import { systemClock } from '@muster/kit/clock';
import { createMetrics } from '@muster/kit/metrics';
import { openRedis } from '@muster/kit/redis/connection';
import { migrate } from '@muster/session-service/postgres/migration-runner';
import { openDedicatedRedis } from '@muster/testkit/dedicated-store';
import { createInMemoryLog } from '@muster/testkit/in-memory-log';
import { useTestStores } from '@muster/testkit/stores';
import { until } from '@muster/testkit/wait';
import { expect, test } from 'vitest';
import { startGateway } from '../gateway/fixture.ts';
import { SERVICE_KEY, startService } from '../session/fixture.ts';
import { startAggregator } from './fixture.ts';

const stores = useTestStores({ migrate });
const EXPECTED = 'session-service=1,ws-gateway=1';

test('[JO1] [JO6] [JO11] [JO12] given a real fleet, synthetic checks succeed over every pair of gateways, with one session', async () => {
  await using sessions = await startService(stores);
  await using one = await startGateway(stores, sessions.opsUrl, { INSTANCE_NAME: 'gw-1' });
  await using two = await startGateway(stores, sessions.opsUrl, { INSTANCE_NAME: 'gw-2' });
  await using aggregator = await startAggregator(stores, {
    SERVICE_API_KEYS: SERVICE_KEY,
    SYNTHETIC_CHECK_INTERVAL_MS: '1000',
    EXPECTED,
  });
  const lastCheck = async () => (await aggregator.request('/v1/fleet')).body.journey;
  const seen = await until(lastCheck, {
    what: 'a synthetic check',
    ok: (now) => now?.status === 'ok',
    timeoutMs: 15_000,
  });
  expect(seen.durationMs).toBeLessThan(5_000);
  for (const gateway of [one, two]) {
    await until(async () => (await gateway.metric('gateway_handshakes_total')) >= 2, {
      what: `synthetic checks over ${gateway.name}`,
      timeoutMs: 10_000,
    });
  }
  const metrics = await (await fetch(`${aggregator.opsUrl}/metrics`)).text();
  expect(metrics).toMatch(/^fleet_synthetic_checks_total\{result="ok",step="all"\} [1-9]/m);
  expect(metrics).toMatch(/^fleet_synthetic_checks_total\{result="failed",step="receive"\} 0$/m);
  await using second = await startAggregator(stores, {
    SERVICE_API_KEYS: SERVICE_KEY,
    SYNTHETIC_CHECK_INTERVAL_MS: '1000',
    INSTANCE_NAME: 'aggregator-2',
    EXPECTED,
  });
  // It does not run checks itself, and shows the result of the leader.
  await until(async () => (await second.request('/v1/fleet')).body.journey?.status === 'ok', {
    what: 'the result of the leader',
  });
  expect(await (await fetch(`${second.opsUrl}/metrics`)).text()).toMatch(
    /^fleet_synthetic_checks_total\{result="ok",step="all"\} 0$/m,
  );
  // Many checks share one session, which is valid for minutes.
  const live = async () => (await sessions.service('GET', '/v1/users/muster-journey/sessions?state=live')).body.items;
  const [session, ...others] = await live();
  expect(others).toEqual([]);
  expect(Date.parse(session.idle_expires_at) - Date.now()).toBeLessThanOrEqual(900_000);
});

test('[JO4] when a synthetic check fails or its aggregator stops, no session of the check remains', async () => {
  await using sessions = await startService(stores);
  const gateway = await startGateway(stores, sessions.opsUrl, { INSTANCE_NAME: 'gw-1' });
  const env = { SERVICE_API_KEYS: SERVICE_KEY, SYNTHETIC_CHECK_INTERVAL_MS: '1000', EXPECTED };
  const aggregator = await startAggregator(stores, env);
  const live = async (): Promise<{ id: string }[]> =>
    (await sessions.service('GET', '/v1/users/muster-journey/sessions?state=live')).body.items;
  const lastCheck = async () => (await aggregator.request('/v1/fleet')).body.journey?.status;
  const untilCheck = (wanted: string) =>
    until(lastCheck, { ok: (status) => status === wanted, what: wanted, timeoutMs: 20_000 });
  await untilCheck('ok');
  const before = await live();
  expect(before).toHaveLength(1);
  // The session of the check ends: the check fails.
  await sessions.service('DELETE', '/v1/users/muster-journey/sessions');
  await until(live, {
    ok: (now) => now.length === 1 && now[0]?.id !== before[0]?.id,
    what: 'exactly one new session',
    timeoutMs: 20_000,
  });
  await aggregator[Symbol.asyncDispose]();
  expect(await live()).toEqual([]);
  await gateway[Symbol.asyncDispose]();
}, 60_000);

test('[JO7] given no API key, no synthetic check runs', async () => {
  await using aggregator = await startAggregator(stores, { SYNTHETIC_CHECK_INTERVAL_MS: '1000', EXPECTED });
  await until(async () => (await aggregator.stateOf('aggregator-test')) === 'up', { what: 'a fleet' });
  await new Promise((resolve) => setTimeout(resolve, 2_500));
  expect((await aggregator.request('/v1/fleet')).body.journey).toBeUndefined();
});

test('[JO3] given an earlier result, it is not shown while the store is unavailable and no leader is elected', async () => {
  const own = await openDedicatedRedis();
  await using _ = own;
  const metrics = createMetrics({ service: 'test', version: '0' });
  const log = createInMemoryLog();
  await using redis = await openRedis(
    {
      url: own.url,
      prefix: 't:',
      maxConnections: 5,
      connectTimeoutMs: 1_000,
      commandTimeoutMs: 500,
      name: 'test',
    },
    { log, metrics },
  );
  const fleet = createFleetState({
    clock: systemClock,
    name: 'test',
    observer: { name: 'observer', version: '1', startedAt: Date.now() },
    expected: {},
    staleAfterMs: 15_000,
    checkIntervals: { normalMs: 2_000, fastMs: 500, downMs: 5_000 },
  });
  await own.stop();
  fleet.recordSyntheticCheck({ ok: true, durationMs: 5 });
  expect(fleet.snapshot().journey?.status).toBe('ok');
  await using _checks = startSyntheticCheckJob({
    apiKey: 'none',
    tenantHosts: { hostOf: () => undefined },
    intervalMs: 20,
    fleet,
    epoch: () => undefined,
    clock: systemClock,
    log,
    metrics,
    redis,
    keys: aggregatorKeys('t:', 'test'),
  });
  await until(() => fleet.snapshot().journey, { what: 'no result', ok: (now) => now === undefined });
});
