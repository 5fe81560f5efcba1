import { migrate } from '@muster/session-service/postgres/migration-runner';
import { openFaultProxy } from '@muster/testkit/fault-proxy';
import { useTestStores } from '@muster/testkit/stores';
import { until } from '@muster/testkit/wait';
import { Redis } from 'ioredis';
import { expect, test } from 'vitest';
import { cookieOf, ORIGIN, startService } from '../session/fixture.ts';
import { openSocket, startGateway, type TestGateway, tryUpgrade } from './fixture.ts';

const stores = useTestStores({ migrate });

const checkOf = async ({ opsUrl }: TestGateway) => {
  const health = (await (await fetch(`${opsUrl}/health`)).json()) as {
    status: string;
    checks: Record<string, { status: string; reason?: string }>;
  };
  const ready = (await fetch(`${opsUrl}/readyz`)).status;
  return { ready, status: health.status, check: health.checks['session_service'] };
};

const reasonIs = (gateway: TestGateway, reason: string | undefined) =>
  until(() => checkOf(gateway), {
    ok: ({ check }) => check?.reason === reason,
    what: `the check to say ${reason}`,
    timeoutMs: 15_000,
  });

test.concurrent('[GS18] given a wrong INTERNAL_API_KEY, when the gateway has started, then /health, a metric and one log line report it before any request fails, and it is ready', async () => {
  await using service = await startService(stores);
  const key = { INTERNAL_API_KEY: 'int_another-0123456789-key' };
  await using gateway = await startGateway(stores, service.opsUrl, key);
  expect(await checkOf(gateway)).toMatchObject({
    ready: 200,
    status: 'degraded',
    check: { status: 'down', reason: 'auth' },
  });
  expect(
    await gateway.metric('service_dependency_failures_total{dependency="session_service",reason="auth"}'),
  ).toBeGreaterThan(0);
  expect(await gateway.metric('service_dependency_up{dependency="session_service"}')).toBe(0);
  const lines = gateway.log.of('dependency.down');
  expect(lines).toHaveLength(1);
  expect(lines[0]?.fields).toMatchObject({
    reason: 'auth',
    message: expect.stringContaining('INTERNAL_API_KEY [401]: set the same value'),
  });
});

test.concurrent('[GS18] [GS22] given an unavailable session service, when clients connect, then sessions in Redis are accepted, others get 503, and open connections stay', async () => {
  await using service = await startService(stores);
  using stack = new DisposableStack();
  const redis = stack.adopt(new Redis(stores.redisUrl), (one) => one.disconnect());
  await using proxy = await openFaultProxy(service.opsUrl);
  await using gateway = await startGateway(stores, proxy.url);
  expect(await checkOf(gateway)).toMatchObject({ ready: 200, status: 'healthy', check: { status: 'up' } });
  const signIn = async (user_id: string) => {
    const answer = await service.service('POST', '/v1/sessions', { user_id, transport: 'cookie' });
    return { id: String(answer.body.session?.id ?? answer.body.id), cookie: cookieOf(answer) };
  };
  const { cookie: known } = await signIn('known');
  const { id, cookie: forgotten } = await signIn('forgotten');
  const url = `${gateway.wsUrl}/connection/websocket`;
  const open = await openSocket(url, { cookie: known, origin: ORIGIN });
  open.send({ id: 1, connect: {} });
  expect(await open.reply(1)).toMatchObject({ connect: {} });

  await proxy.refuse();
  expect(await reasonIs(gateway, 'refused')).toMatchObject({ ready: 200, status: 'degraded' });
  const again = await openSocket(url, { cookie: known, origin: ORIGIN });
  again.send({ id: 1, connect: {} });
  expect(await again.reply(1)).toMatchObject({ connect: {} });
  expect(await redis.unlink(`${stores.redisPrefix}s:{${id}}`)).toBe(1);
  expect((await tryUpgrade(`${gateway.wsUrl}/ws?group=news`, { cookie: forgotten, origin: ORIGIN })).status).toBe(503);
  open.send({ id: 2, subscribe: { channel: 'news' } });
  expect(await open.reply(2)).toMatchObject({ subscribe: {} });

  await proxy.blackhole();
  expect(await reasonIs(gateway, 'timeout')).toMatchObject({ ready: 200, status: 'degraded' });
  await proxy.pass();
  expect(await reasonIs(gateway, undefined)).toMatchObject({ ready: 200, status: 'healthy' });
  expect((await tryUpgrade(`${gateway.wsUrl}/ws?group=news`, { cookie: forgotten, origin: ORIGIN })).status).toBe(101);
  for (const { socket } of [open, again]) socket.close();
});

test.concurrent('[EV9] given no heartbeats of the session service, when the bus stays silent, then that is logged once and the connection is reopened', async () => {
  const isolated = { ...stores, redisPrefix: `${stores.redisPrefix}silent:` };
  await using gateway = await startGateway(isolated, 'http://127.0.0.1:1');
  const reconnects = 'redis_client_reconnects_total{client="session-events"}';
  await until(() => gateway.metric(reconnects), {
    ok: (count) => count >= 2,
    what: 'two new connections',
    timeoutMs: 30_000,
  });
  expect(gateway.log.of('session.bus_silent')).toHaveLength(1);
  expect(gateway.log.of('dependency.down')).toHaveLength(1);
}, 40_000);
