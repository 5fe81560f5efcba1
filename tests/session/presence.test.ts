import { migrate } from '@muster/session-service/postgres/migration-runner';
import { type DedicatedStore, openDedicatedRedis } from '@muster/testkit/dedicated-store';
import { useTestStores } from '@muster/testkit/stores';
import { withClient } from '@muster/testkit/template';
import { until } from '@muster/testkit/wait';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { openSocket, type RawClient, startGateway, type TestGateway } from '../gateway/fixture.ts';
import { startService, type TestService } from './fixture.ts';

const stores = useTestStores({ migrate });
let stack: AsyncDisposableStack;
let redis: DedicatedStore;
let service: TestService;
let gateways: TestGateway[];

beforeAll(async () => {
  stack = new AsyncDisposableStack();
  redis = stack.use(await openDedicatedRedis());
  const place = { databaseUrl: stores.databaseUrl, redisUrl: redis.url, redisPrefix: 't:' };
  service = stack.use(await startService(place, { SESSION_LIMIT_PER_MINUTE: '0' }));
  const more = { HEARTBEAT_INTERVAL_MS: '200', HEARTBEAT_TTL_MS: '2000' };
  gateways = await Promise.all(
    ['gw-1', 'gw-2'].map((name) => startGateway(place, service.opsUrl, { ...more, INSTANCE_NAME: name })),
  );
  for (const gateway of gateways) stack.use(gateway);
});
afterAll(() => stack.disposeAsync());

type Login = { id: string; token: string };
const login = async (user: string): Promise<Login> =>
  (await service.service('POST', '/v1/sessions', { user_id: user })).body;
/** A socket that has been let in. */
const connect = async (gateway: TestGateway, token: string): Promise<RawClient> => {
  const client = await openSocket(`${gateway.wsUrl}/connection/websocket`);
  client.send({ id: 1, connect: { token } });
  await client.reply(1);
  return client;
};
interface Shown {
  readonly online: boolean | null;
  readonly sockets: number | null;
}
const shown = async (path: string, find = (body: unknown) => body as Shown): Promise<Shown> => {
  const { online, sockets } = find((await service.service('GET', path)).body);
  return { online, sockets };
};
const untilShown = (id: string, wanted: Shown) =>
  until(() => shown(`/v1/sessions/${id}`), {
    ok: (now) => now.online === wanted.online && now.sockets === wanted.sockets,
    what: JSON.stringify(wanted),
    timeoutMs: 15_000,
  });

test('[ON1] given sockets on several gateways, every response with a session has their number', async () => {
  const [{ id, token }, other] = [await login('o_1'), await login('o_1')];
  await untilShown(id, { online: false, sockets: 0 });
  const clients = [
    await connect(gateways[0] as TestGateway, token),
    await connect(gateways[0] as TestGateway, token),
    await connect(gateways[1] as TestGateway, token),
  ];
  await untilShown(id, { online: true, sockets: 3 });
  const own = await service.bearer(token, 'GET', '/v1/session');
  expect(own.body).toMatchObject({ online: true, sockets: 3 });
  const expected = [
    { id: other.id, online: false, sockets: 0 },
    { id, online: true, sockets: 3 },
  ];
  expect((await service.bearer(token, 'GET', '/v1/me/sessions')).body.items).toMatchObject(expected);
  expect((await service.service('GET', '/v1/sessions?user_id=o_1')).body.items).toMatchObject(expected);
  expect((await service.service('GET', '/v1/users/o_1/sessions')).body.items).toMatchObject(expected);
  clients[0]?.socket.close();
  await untilShown(id, { online: true, sockets: 2 });
  await service.service('DELETE', `/v1/sessions/${id}`);
  await untilShown(id, { online: false, sockets: 0 });
});

test('[ON1] [SE75] given an open socket, evict_idle and an end of idle sessions keep the session', async () => {
  const user = 'o_evict';
  await service.service('PUT', `/v1/users/${user}`, { max_sessions: 2 });
  const [online, silent] = [await login(user), await login(user)];
  const client = await connect(gateways[0] as TestGateway, online.token);
  await untilShown(online.id, { online: true, sockets: 1 });
  // More recent than the socket: only the socket keeps the other session.
  await service.bearer(silent.token, 'GET', '/v1/session');
  const last = await login(user);
  expect((await service.bearer(online.token, 'GET', '/v1/session?passive=true')).status).toBe(200);
  expect((await service.bearer(silent.token, 'GET', '/v1/session?passive=true')).status).toBe(401);
  await withClient(stores.databaseUrl, (sql) =>
    sql.query(`UPDATE sessions SET last_seen_at = now() - interval '3 hours' WHERE user_id = $1`, [user]),
  );
  const seen_before = new Date(Date.now() - 3_600_000).toISOString();
  const ended = await service.service('POST', '/v1/sessions/end', { filter: { user_id: user, seen_before } });
  expect(ended.body).toMatchObject({ processed: 1 });
  expect((await service.bearer(online.token, 'GET', '/v1/session?passive=true')).status).toBe(200);
  expect((await service.bearer(last.token, 'GET', '/v1/session?passive=true')).status).toBe(401);
  client.socket.close();
});

test('[ON1] given a guest, the own sockets are shown', async () => {
  const { body } = await service.call('POST', '/v1/guest-sessions', { json: { transport: 'bearer' } });
  const client = await connect(gateways[0] as TestGateway, body.token);
  await untilShown(body.id, { online: true, sockets: 1 });
  expect((await service.bearer(body.token, 'GET', '/v1/me/sessions')).body.items).toMatchObject([
    { online: true, sockets: 1 },
  ]);
  client.socket.close();
});

test('[ON2] given a Redis that lost its data, presence is unknown until the gateways have written again', async () => {
  const [{ id, token }, idle] = [await login('o_2'), await login('o_2')];
  await connect(gateways[1] as TestGateway, token);
  await untilShown(id, { online: true, sockets: 1 });
  const client = new Redis(redis.url);
  await client.flushall();
  client.disconnect();
  expect(await shown(`/v1/sessions/${idle.id}`)).toEqual({ online: null, sockets: null });
  await untilShown(id, { online: true, sockets: 1 });
  await untilShown(idle.id, { online: false, sockets: 0 });
});

test('[ON1] given a gateway without a heartbeat, its sockets do not count', async () => {
  const { id, token } = await login('o_3');
  await connect(gateways[0] as TestGateway, token);
  await connect(gateways[1] as TestGateway, token);
  await untilShown(id, { online: true, sockets: 2 });
  // Left behind by a crashed gateway: an entry under an id that sends no heartbeat.
  const client = new Redis(redis.url);
  await client.hset(`t:on:{${id}}`, '019f0000-0000-7000-8000-000000000000', '7');
  client.disconnect();
  await gateways[0]?.[Symbol.asyncDispose]();
  await untilShown(id, { online: true, sockets: 1 });
});

test('[ON2] given no Redis, presence is null within 250 ms and no request fails', async () => {
  const { id, token } = await login('o_4');
  await connect(gateways[1] as TestGateway, token);
  await untilShown(id, { online: true, sockets: 1 });
  redis.signal('SIGSTOP');
  try {
    const answer = await service.service('GET', `/v1/sessions/${id}`);
    expect(answer.status).toBe(200);
    expect(answer.body).toMatchObject({ online: null, sockets: null });
  } finally {
    redis.signal('SIGCONT');
  }
  await untilShown(id, { online: true, sockets: 1 });
});
