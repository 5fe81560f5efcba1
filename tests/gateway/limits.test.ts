import { migrate } from '@muster/session-service/postgres/migration-runner';
import { openFaultProxy } from '@muster/testkit/fault-proxy';
import { useTestStores } from '@muster/testkit/stores';
import { until } from '@muster/testkit/wait';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { startService, type TestService } from '../session/fixture.ts';
import { connected, openSocket, type RawClient, sdk, startGateway, tryUpgrade } from './fixture.ts';

const stores = useTestStores({ migrate });
let sessions: TestService;

beforeAll(async () => {
  sessions = await startService(stores);
});
afterAll(() => sessions[Symbol.asyncDispose]());

const login = async (user_id: string): Promise<string> =>
  (await sessions.service('POST', '/v1/sessions', { user_id, transport: 'bearer' })).body.token;
const opened = (wsUrl: string, token: string): Promise<RawClient> =>
  openSocket(`${wsUrl}/connection/websocket`).then((client) => {
    client.send({ id: 1, connect: { token } });
    return client;
  });

test('[LM1] [LM12] [LM13] [LM14] given a user and a session at their limits, when they connect, then the result is error 111 or 429 until a connection closes', async () => {
  const limits = { MAX_CONNECTIONS_PER_USER: '3', MAX_CONNECTIONS_PER_SESSION: '2' };
  await using gateway = await startGateway(stores, sessions.opsUrl, limits);
  const [phone, tablet, other] = [await login('u_many'), await login('u_many'), await login('u_few')];
  const first = [await opened(gateway.wsUrl, phone), await opened(gateway.wsUrl, phone)];
  for (const one of first) await one.reply(1);
  const third = await opened(gateway.wsUrl, phone);
  expect(await third.reply(1)).toMatchObject({ error: { code: 111, temporary: true } });
  third.socket.close();
  await (await opened(gateway.wsUrl, tablet)).reply(1);
  const bearer = { authorization: `Bearer ${tablet}` };
  const refused = await tryUpgrade(`${gateway.wsUrl}/ws?group=room`, bearer);
  expect(refused).toMatchObject({ status: 429, headers: { 'retry-after': expect.any(String) } });
  await (await opened(gateway.wsUrl, other)).reply(1);
  first[0]?.socket.close();
  await first[0]?.closed;
  await until(async () => (await gateway.metric('gateway_connections')) === 3, { what: 'a free connection' });
  await openSocket(`${gateway.wsUrl}/ws?group=room`, bearer);
  expect(await gateway.metric('gateway_rate_limited_total{scope="session"}')).toBe(1);
  expect(await gateway.metric('gateway_rate_limited_total{scope="user"}')).toBe(1);
  expect(await gateway.metric('gateway_handshakes_total{result="rejected_limit"}')).toBe(1);
});

test('[LM11] given a limit of one, when an SDK reconnects from another network, then its lost connections, plain connections too, are closed', async () => {
  const limits = { MAX_CONNECTIONS_PER_SESSION: '1', PONG_TIMEOUT_MS: '300' };
  await using gateway = await startGateway(stores, sessions.opsUrl, limits);
  for (const path of ['/connection/websocket', '/ws?group=room']) {
    const token = await login('u_moves');
    const lost = await openSocket(gateway.wsUrl + path, { authorization: `Bearer ${token}` });
    if (path !== '/ws?group=room') {
      lost.send({ id: 1, connect: {} });
      await lost.reply(1);
    }
    // Nothing arrives there any more, and nothing comes from there.
    lost.socket.pause();
    const client = sdk(gateway, { token });
    const ends: number[] = [];
    client.on('disconnected', ({ code }) => ends.push(code));
    await connected(client);
    expect(ends).toEqual([]);
    client.disconnect();
    lost.socket.terminate();
  }
  const silent = 'gateway_disconnects_total{initiator="server",code="3012"}';
  expect(await gateway.metric(silent)).toBe(2);
});

test('[LM16] given a limit of one, when a second client connects, then the first stays open while it answers pings', async () => {
  const limits = { MAX_CONNECTIONS_PER_SESSION: '1', PONG_TIMEOUT_MS: '300' };
  await using gateway = await startGateway(stores, sessions.opsUrl, limits);
  const token = await login('u_stays');
  const [first, second] = [sdk(gateway, { token }), sdk(gateway, { token })];
  await connected(first);
  second.connect();
  const pings = 'gateway_messages_total{direction="out",type="ping"}';
  await until(async () => (await gateway.metric(pings)) >= 2, { what: 'two probes' });
  expect([first.state, second.state]).toEqual(['connected', 'connecting']);
  first.disconnect();
  await second.ready(15_000);
  second.disconnect();
});

test('[LM2] [LM17] [LM18] given an address at its limit, when a client upgrades, then the answer is 429, and clients behind a trusted proxy have their own addresses', async () => {
  const limits = { MAX_CONNECTIONS_PER_IP: '2', TRUSTED_PROXIES: '127.0.0.0/8' };
  await using gateway = await startGateway(stores, sessions.opsUrl, limits);
  const from = (address: string) => openSocket(`${gateway.wsUrl}/connection/websocket`, { 'x-forwarded-for': address });
  const [one] = [await from('198.51.100.1'), await from('198.51.100.1')];
  await expect(from('198.51.100.1')).rejects.toThrow('429');
  await from('198.51.100.2');
  one.socket.terminate();
  await until(
    () =>
      from('198.51.100.1').then(
        () => true,
        () => false,
      ),
    { what: 'a free connection of the address' },
  );
  expect(await gateway.metric('gateway_rate_limited_total{scope="ip"}')).toBeGreaterThan(0);
  // Some proxies add the port of the client, which differs for each connection.
  await from('198.51.100.7:5001');
  await from('198.51.100.7:5002');
  await expect(from('198.51.100.7:5003')).rejects.toThrow('429');
  await from('[2001:db8:0:1::1]:5001');
  await from('[2001:db8:0:1::2]:5002');
  await expect(from('[2001:db8:0:1::3]:5003')).rejects.toThrow('429');
  await from('[2001:db8:0:2::3]:5003');
});

test('[LM7] [LM8] [LM20] given a guest that publishes to random names and subscribes to new groups, when it continues, then Redis has the keys that its limits allow', async () => {
  const limits = { MAX_NEW_GROUPS_PER_MINUTE: '20', MAX_COMMANDS_PER_S: '0' };
  await using gateway = await startGateway(stores, sessions.opsUrl, limits);
  const redis = new Redis(stores.redisUrl);
  const keys = async (): Promise<number> => (await redis.keys(`${stores.redisPrefix}g[smpi]:*`)).length;
  const guest = await opened(gateway.wsUrl, await login('u_guest'));
  await guest.reply(1);
  const before = await keys();
  const publish = Array.from({ length: 1_500 }, (_, n) => ({
    id: n + 10,
    publish: { channel: `random:${n}`, data: 'x' },
  }));
  for (let at = 0; at < publish.length; at += 100) guest.send(...publish.slice(at, at + 100));
  expect(await guest.reply(1_509)).toEqual({ id: 1_509, publish: {} });
  expect(await keys()).toBe(before);
  for (let n = 0; n < 300; n += 1) {
    guest.send(
      { id: 10_000 + n, subscribe: { channel: `new:${n}` } },
      { id: 20_000 + n, unsubscribe: { channel: `new:${n}` } },
    );
  }
  expect(await guest.reply(20_299)).toMatchObject({ id: 20_299 });
  expect(await guest.reply(10_299)).toMatchObject({ error: { code: 111 } });
  const bearer = { authorization: `Bearer ${await login('u_guest')}` };
  const statuses: number[] = [];
  for (let n = 0; n < 30; n += 1) {
    statuses.push((await tryUpgrade(`${gateway.wsUrl}/ws?group=plain:${n}`, bearer)).status);
  }
  expect(statuses.filter((status) => status === 101)).toHaveLength(20);
  expect(statuses.filter((status) => status === 429)).toHaveLength(10);
  // Two sessions, twenty groups each.
  expect((await keys()) - before).toBeLessThanOrEqual(40 * 2);
  const metaLives = await Promise.all((await redis.keys(`${stores.redisPrefix}gm:*`)).map((key) => redis.pttl(key)));
  expect(Math.max(...metaLives)).toBeLessThanOrEqual(10 * 300_000);
  redis.disconnect();
  expect(await gateway.metric('gateway_rate_limited_total{scope="new_groups"}')).toBeGreaterThan(200);
  expect(gateway.log.of('gateway.limit_reached')[0]?.fields).toMatchObject({
    limit: 'new_groups',
    user: 'u_guest',
    session: expect.any(String),
  });
});

test('[AD2] [AD3] given slow stores and a full queue, when a client upgrades, then the answer is 503 with Retry-After, and queued clients are served', async () => {
  await using link = await openFaultProxy(stores.redisUrl);
  const slow = { redisUrl: link.url, redisPrefix: stores.redisPrefix };
  // Every check needs the stores.
  const limits = {
    ...{ HANDSHAKE_CONCURRENCY: '1', HANDSHAKE_QUEUE: '4', VERIFIED_SESSION_MS: '0' },
    REDIS_COMMAND_TIMEOUT_MS: '8000',
  };
  await using gateway = await startGateway(slow, sessions.opsUrl, limits);
  const token = await login('u_queue');
  await (await opened(gateway.wsUrl, token)).reply(1);
  await link.blackhole();
  const waiting: RawClient[] = [];
  for (let count = 0; count < 5; count++) waiting.push(await opened(gateway.wsUrl, token));
  await until(async () => (await gateway.metric('gateway_admission_queue_length')) === 4, {
    what: 'a full queue',
  });
  const refused = await tryUpgrade(`${gateway.wsUrl}/connection/websocket`);
  expect(refused.status).toBe(503);
  expect(Number(refused.headers['retry-after'])).toBeGreaterThanOrEqual(1);
  await link.pass();
  for (const client of waiting) expect(await client.reply(1)).toMatchObject({ id: 1 });
  expect(await gateway.metric('gateway_handshakes_total{result="rejected_overload"}')).toBe(1);
  await until(async () => (await gateway.metric('gateway_admission_queue_length')) === 0, {
    what: 'an empty queue',
  });
});

test('[ME3] given connections of two users, when metrics are scraped, then limits, users, pending bytes and rejections are current', async () => {
  await using gateway = await startGateway(stores, sessions.opsUrl, { MAX_CONNECTIONS: '3' });
  const [ann, bob] = [await login('u_ann'), await login('u_bob')];
  const clients = [
    await opened(gateway.wsUrl, ann),
    await opened(gateway.wsUrl, ann),
    await opened(gateway.wsUrl, bob),
  ];
  for (const one of clients) await one.reply(1);
  expect((await tryUpgrade(`${gateway.wsUrl}/connection/websocket`)).status).toBe(503);
  const all = Object.entries({
    gateway_connections_limit: 3,
    gateway_connections: 3,
    gateway_users: 2,
    gateway_send_buffer_bytes: 0,
    gateway_slow_consumers: 0,
    gateway_admission_queue_length: 0,
    'gateway_handshakes_total{result="rejected_overload"}': 1,
    gateway_connection_duration_seconds_count: 0,
  });
  for (const [name, value] of all) expect([name, await gateway.metric(name)]).toEqual([name, value]);
  expect(await gateway.metric('gateway_message_bytes_total{direction="in"}')).toBeGreaterThan(100);
  clients[0]?.socket.close();
  await until(async () => (await gateway.metric('gateway_connection_duration_seconds_count')) === 1, {
    what: 'the end of a connection',
  });
  expect(await gateway.metric('gateway_users')).toBe(2);
});
