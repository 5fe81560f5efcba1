import { randomBytes } from 'node:crypto';
import { migrate } from '@muster/session-service/postgres/migration-runner';
import { type FaultProxy, openFaultProxy } from '@muster/testkit/fault-proxy';
import { useTestStores } from '@muster/testkit/stores';
import { until } from '@muster/testkit/wait';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { startService, type TestService } from '../session/fixture.ts';
import { connected, listenTo, openSocket, sdk, startGateway, type TestGateway, tryUpgrade } from './fixture.ts';

const stores = useTestStores({ migrate });
let sessions: TestService;
let gateway: TestGateway;
let redis: FaultProxy;
let service: FaultProxy;

beforeAll(async () => {
  sessions = await startService(stores);
  redis = await openFaultProxy(stores.redisUrl);
  service = await openFaultProxy(sessions.opsUrl);
  gateway = await startGateway(
    { redisUrl: redis.url, redisPrefix: stores.redisPrefix },
    service.url.replace(/\/$/, ''),
    { REDIS_COMMAND_TIMEOUT_MS: '500' },
  );
});
afterAll(async () => {
  for (const one of [gateway, sessions, redis, service]) await one[Symbol.asyncDispose]();
});

const login = async () => {
  const user_id = `u_${randomBytes(4).toString('hex')}`;
  const { body } = await sessions.service('POST', '/v1/sessions', { user_id, transport: 'bearer' });
  return { id: body.id as string, token: body.token as string };
};
const PROTOCOL = '/connection/websocket';

test('[BU9] [GM13] [GM14] [GM15] given an unreachable Redis, when clients publish, then errors are temporary, sockets stay, the gateway is degraded, and everything recovers', async () => {
  const { token } = await login();
  const client = await connected(sdk(gateway, { token }));
  let drops = 0;
  client.on('connecting', () => {
    drops += 1;
  });
  const received = await listenTo(client, 'room');
  await client.publish('room', 'before');
  await redis.refuse();
  await until(
    () =>
      client.publish('room', 'during').then(
        () => false,
        (error) => error.code === 100,
      ),
    {
      what: 'a temporary error',
    },
  );
  const late = client.newSubscription('late');
  late.subscribe();
  await until(async () => (await fetch(`${gateway.url}/health`).then((answer) => answer.json())).state === 'degraded', {
    what: 'the degraded state',
  });
  expect((await fetch(`${gateway.url}/readyz`)).status).toBe(200);
  await redis.pass();
  await late.ready(10_000);
  await until(
    () =>
      client.publish('room', 'after').then(
        () => true,
        () => false,
      ),
    { what: 'publishing', timeoutMs: 10_000 },
  );
  await until(() => received.includes('after'), { what: 'the publication after the outage' });
  expect(received[0]).toBe('before');
  expect(drops).toBe(0);
  client.disconnect();
});

test('[GS5] given unavailable stores, when a client connects, then the result is error 100 or 503', async () => {
  const { token } = await login();
  await redis.refuse();
  await service.refuse();
  const client = await openSocket(gateway.wsUrl + PROTOCOL);
  client.send({ id: 1, connect: { token } });
  expect(await client.reply(1)).toEqual({
    id: 1,
    error: { code: 100, message: 'internal server error', temporary: true },
  });
  client.socket.terminate();
  const headers = { authorization: `Bearer ${token}` };
  const refused = await tryUpgrade(`${gateway.url}/ws?group=a`, headers);
  expect(refused.status).toBe(503);
  expect(refused.headers['retry-after']).toBeDefined();
  await service.pass();
  await until(async () => (await tryUpgrade(gateway.url + PROTOCOL, headers)).status === 101, {
    what: 'a handshake by way of the session service alone',
  });
  await redis.pass();
});

test('[GS6] given a deaf bus, when a session ends, then its connection is closed within five seconds', async () => {
  const { id, token } = await login();
  const client = await openSocket(gateway.wsUrl + PROTOCOL);
  client.send({ id: 1, connect: { token } });
  await client.reply(1);
  await redis.refuse();
  await new Promise((resolve) => setTimeout(resolve, 200));
  const startedAt = performance.now();
  await sessions.service('DELETE', `/v1/sessions/${id}?reason=admin`);
  expect(await client.closed).toMatchObject({ code: 4501 });
  expect(performance.now() - startedAt).toBeLessThan(5_000);
  await redis.pass();
});

test('[GS7] given a session that Redis does not have, when a client connects, then the session service is queried', async () => {
  const { token } = await login();
  const { Redis } = await import('ioredis');
  const direct = new Redis(stores.redisUrl);
  const keys = await direct.keys(`${stores.redisPrefix}s:*`);
  if (keys.length > 0) await direct.del(...keys);
  direct.disconnect();
  const client = await openSocket(gateway.wsUrl + PROTOCOL);
  client.send({ id: 1, connect: { token } });
  expect(await client.reply(1)).toMatchObject({ connect: { pong: true } });
  expect(await gateway.metric('session_validations_total{result="live",source="service"}')).toBeGreaterThan(0);
  client.socket.terminate();
});
