import { systemClock } from '@muster/kit/clock';
import { readRegistry } from '@muster/kit/fleet/registry';
import { createMetrics } from '@muster/kit/metrics';
import { openRedis } from '@muster/kit/redis/connection';
import { migrate } from '@muster/session-service/postgres/migration-runner';
import { openFaultProxy } from '@muster/testkit/fault-proxy';
import { createInMemoryLog } from '@muster/testkit/in-memory-log';
import { useTestStores } from '@muster/testkit/stores';
import { until } from '@muster/testkit/wait';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { startService, type TestService } from '../session/fixture.ts';
import { openSocket, startGateway } from './fixture.ts';

const stores = useTestStores({ migrate });
const stack = new AsyncDisposableStack();
let sessions: TestService;

beforeAll(async () => {
  sessions = stack.use(await startService(stores));
});
afterAll(() => stack.disposeAsync());

const openTestRedis = () => {
  const limits = { maxConnections: 5, connectTimeoutMs: 2_000, commandTimeoutMs: 5_000 };
  const config = { url: stores.redisUrl, prefix: stores.redisPrefix, name: 'warm-up-test', ...limits };
  return openRedis(config, { log: createInMemoryLog(), metrics: createMetrics({ service: 'test', version: '0' }) });
};

test('[WU1] [WU2] given a gateway that starts, when its port opens, then clients have connected to it, and nothing of them is visible or stays', async () => {
  await using redis = await openTestRedis();
  await using gateway = await startGateway(stores, sessions.opsUrl, { WARM_UP_MS: '4000' });
  const [line] = gateway.log.of('gateway.warmed_up');
  // A busy machine reaches the time limit first.
  expect(Number(line?.fields['clients'])).toBeGreaterThan(0);
  expect(gateway.log.of('gateway.warm_up_skipped')).toEqual([]);

  for (const name of ['gateway_handshakes_total', 'gateway_messages_total', 'session_validations_total'])
    expect(await gateway.metric(name), name).toBe(0);
  const { beats } = await readRegistry(redis.lane(), redis.prefix, 'muster');
  expect(beats.filter(({ name }) => name.includes('warm-up'))).toEqual([]);
  expect((await sessions.service('GET', '/v1/sessions?user_id=user-1')).body.sessions ?? []).toEqual([]);

  // The remaining keys have a prefix of their own and expire within a minute; after a time limit the last clients leave meanwhile.
  const keys = await redis.lane().keys(`${stores.redisPrefix}*`);
  expect(keys.filter((name) => !name.includes('warm-up:') && name.includes('group-'))).toEqual([]);
  for (const key of keys.filter((name) => name.includes('warm-up:'))) {
    const pttl = () => redis.lane().pttl(key);
    await until(pttl, { what: `${key} to expire`, ok: (ttlMs) => ttlMs === -2 || (ttlMs >= 0 && ttlMs <= 60_000) });
  }

  const { token } = (await sessions.service('POST', '/v1/sessions', { user_id: 'u_first', transport: 'bearer' })).body;
  const client = await openSocket(`${gateway.wsUrl}/connection/websocket`);
  client.send({ id: 1, connect: { token } });
  expect(await client.reply(1)).toHaveProperty('connect');
  client.socket.terminate();
});

test('[WU3] given a short time limit, when it is reached, then the gateway opens its port', async () => {
  const startedAt = systemClock.monotonic();
  await using gateway = await startGateway(stores, sessions.opsUrl, { WARM_UP_MS: '50' });
  expect(gateway.log.of('gateway.warm_up_skipped')).toEqual([]);
  const [line] = gateway.log.of('gateway.warmed_up');
  expect(Number(line?.fields['clients'])).toBeLessThan(2_000);
  expect(systemClock.monotonic() - startedAt).toBeLessThan(20_000);
});

test('[WU4] given a Redis that does not answer, when a gateway starts, then the warm-up is skipped and logged, and by default there is none', async () => {
  await using redis = await openFaultProxy(stores.redisUrl);
  await redis.refuse();
  const away = { ...stores, redisUrl: redis.url };
  const env = { WARM_UP_MS: '10000', REDIS_CONNECT_TIMEOUT_MS: '200' };
  await using gateway = await startGateway(away, sessions.opsUrl, env);
  expect(gateway.log.of('gateway.warm_up_skipped')).toHaveLength(1);
  await redis.pass();
  await until(async () => (await fetch(`${gateway.opsUrl}/readyz`)).ok, { what: 'the gateway to be ready' });
  await using quiet = await startGateway(stores, sessions.opsUrl);
  expect(quiet.log.of('gateway.warmed_up')).toEqual([]);
});
