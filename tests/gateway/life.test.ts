import { freePorts } from '@muster/local/ports';
import { until } from '@muster/testkit/wait';
import { afterEach, describe, expect, test } from 'vitest';
import { cookieOf, ORIGIN } from '../session/fixture.ts';
import { connected, listenTo, openSocket, type RawClient, sdk, startGateway, tryUpgrade, useFleet } from './fixture.ts';

const open: { disconnect(): void }[] = [];
let users = 0;

const fleet = useFleet({ names: ['gw-1', 'gw-2'] });
afterEach(() => {
  for (const client of open.splice(0)) client.disconnect();
});

const login = async (user = `u${++users}`) => {
  const { body } = await fleet.sessions.service('POST', '/v1/sessions', {
    user_id: user,
    transport: 'bearer',
  });
  return { user, id: body.id as string, token: body.token as string };
};
const loginByCookie = async (user = `u${++users}`) => {
  const answer = await fleet.sessions.service('POST', '/v1/sessions', { user_id: user, transport: 'cookie' });
  return { user, id: answer.body.id as string, cookie: cookieOf(answer) };
};
const keep = <T extends { disconnect(): void }>(client: T): T => {
  open.push(client);
  return client;
};
const raw = async (path: string, headers: Record<string, string>, gateway = fleet.gateway): Promise<RawClient> => {
  const client = await openSocket(`${gateway.wsUrl}${path}`, headers);
  open.push({ disconnect: () => client.socket.terminate() });
  return client;
};

test('[HS11] given a gateway that starts, when clients upgrade as soon as it listens, then each request is handled as an upgrade', async () => {
  const statuses = new Set<number>();
  for (let start = 0; start < 5; start += 1) {
    const [port = 0] = await freePorts(1);
    const starting = startGateway(fleet.stores, fleet.sessions.opsUrl, {
      INSTANCE_NAME: 'gw-late',
      PORT: String(port),
    });
    let isStarted = false;
    const upgradeRepeatedly = async () => {
      while (!isStarted) {
        const answer = await tryUpgrade(`ws://127.0.0.1:${port}/connection/websocket`).catch(() => undefined);
        if (answer !== undefined) statuses.add(answer.status);
      }
    };
    const upgrades = Array.from({ length: 4 }, upgradeRepeatedly);
    await using _ = await starting;
    isStarted = true;
    await Promise.all(upgrades);
  }
  expect([...statuses]).toEqual([101]);
});

describe('clients of the SDK', () => {
  test('[GM1] [GM10] given members on two gateways, by cookie and by token, when they publish, then members receive everything in order and others nothing', async () => {
    const [ann, bob, eve] = [await loginByCookie(), await login(), await login()];
    const a = keep(await connected(sdk(fleet.gateway, { headers: { cookie: ann.cookie, origin: ORIGIN } })));
    const b = keep(await connected(sdk(fleet.second, { token: bob.token })));
    const c = keep(await connected(sdk(fleet.second, { token: eve.token })));
    const [receivedA, receivedB, receivedC] = [
      await listenTo(a, 'room:1'),
      await listenTo(b, 'room:1'),
      await listenTo(c, 'room:2'),
    ];
    for (let number = 0; number < 50; number++) await a.publish('room:1', { number });
    const numbers = Array.from({ length: 50 }, (_, number) => ({ number }));
    await until(() => receivedB.length >= 50 && receivedA.length >= 50, { what: 'all publications' });
    expect(receivedA).toEqual(numbers);
    expect(receivedB).toEqual(numbers);
    await b.publish('room:1', 'answer');
    await until(() => receivedA.length > 50 && receivedB.length > 50, { what: 'the answer' });
    expect(receivedC).toEqual([]);
  });

  test('[CN1] given a session, when an SDK connects, then the result names the gateway, the session and the user', async () => {
    const { id, token, user } = await login();
    const client = keep(sdk(fleet.second, { token }));
    const context = new Promise((resolve) => client.once('connected', resolve));
    await connected(client);
    expect(await context).toMatchObject({ data: { gateway: 'gw-2', session: id, user } });
  });

  test('[CN7] [CN17] given a guest and a user, when they publish, then publications name their publishers and guests have ids of their own', async () => {
    const guest = await fleet.sessions.call('POST', '/v1/guest-sessions', {
      json: {},
      headers: { origin: ORIGIN },
    });
    expect(guest.status).toBe(201);
    const a = keep(await connected(sdk(fleet.gateway, { headers: { cookie: cookieOf(guest), origin: ORIGIN } })));
    const infos: unknown[] = [];
    const subscription = a.newSubscription('room:guests');
    subscription.on('publication', ({ info }) => infos.push(info?.user));
    subscription.subscribe();
    await subscription.ready(5000);
    const { token, user } = await login();
    const b = keep(await connected(sdk(fleet.second, { token })));
    await a.publish('room:guests', 1);
    await b.publish('room:guests', 2);
    await until(() => infos.length === 2, { what: 'two publications' });
    expect(infos).toEqual([`guest:${guest.body.id.slice(0, 8)}`, user]);
  });

  test('[CN12] given an ended session, when an SDK connects with its token, then it is disconnected with 4501', async () => {
    const { id, token } = await login();
    await fleet.sessions.service('DELETE', `/v1/sessions/${id}?reason=admin`);
    const client = keep(sdk(fleet.gateway, { token }));
    const gone = new Promise<{ code: number }>((resolve) => client.once('disconnected', resolve));
    client.connect();
    expect(await gone).toMatchObject({ code: 4501 });
  });
});

describe('the end of a session', () => {
  test('[GS2] given a session with sockets on two gateways, when it ends, then exactly these are closed with 4501 and the reason', async () => {
    const ann = await login();
    const other = await login(ann.user);
    const bearer = { authorization: `Bearer ${ann.token}` };
    const sockets = [
      await raw('/connection/websocket', {}, fleet.gateway),
      await raw('/connection/websocket', {}, fleet.second),
      await raw('/ws?group=room', bearer, fleet.second),
    ];
    for (const client of sockets.slice(0, 2)) {
      client.send({ id: 1, connect: { token: ann.token } });
      await client.reply(1);
    }
    const stays = await raw('/connection/websocket', {}, fleet.gateway);
    stays.send({ id: 1, connect: { token: other.token } });
    await stays.reply(1);
    const startedAt = performance.now();
    expect((await fleet.sessions.service('DELETE', `/v1/sessions/${ann.id}?reason=admin`)).status).toBe(204);
    for (const { closed } of sockets) {
      expect(await closed).toEqual({ code: 4501, reason: 'session ended: admin' });
    }
    expect(performance.now() - startedAt).toBeLessThan(2000);
    stays.send({ id: 2, subscribe: { channel: 'room' } });
    expect(await stays.reply(2)).toMatchObject({ id: 2, subscribe: {} });
    const again = await openSocket(`${fleet.gateway.wsUrl}/connection/websocket`);
    again.send({ id: 1, connect: { token: ann.token } });
    expect(await again.closed).toMatchObject({ code: 4501 });
  });
});

describe('plain clients', () => {
  test('[PL8] given a plain client and an SDK client in one group, when either publishes, then both receive it', async () => {
    const [ann, bob] = [await login(), await loginByCookie()];
    const a = keep(await connected(sdk(fleet.gateway, { token: ann.token })));
    const received = await listenTo(a, 'room:plain');
    const plain = await raw('/ws?group=room:plain', { cookie: bob.cookie, origin: ORIGIN }, fleet.second);
    plain.socket.send('hello');
    await until(() => received.length === 1, { what: 'the plain text' });
    await a.publish('room:plain', { text: 'hi' });
    await a.publish('room:plain', 'as text');
    await until(() => plain.frames.length === 3 && received.length === 3, { what: 'three publications' });
    expect(received).toEqual(['hello', { text: 'hi' }, 'as text']);
    expect(plain.frames).toEqual(['hello', '{"text":"hi"}', 'as text']);
  });

  test('[PL3] given two plain clients, when one sends a heartbeat, then it is answered and not published', async () => {
    const { token } = await login();
    const headers = { authorization: `Bearer ${token}` };
    const [first, second] = [
      await raw('/ws?group=heartbeats', headers),
      await raw('/ws?group=heartbeats', headers, fleet.second),
    ];
    first.socket.send('{"type":"heartbeat"}');
    await until(() => first.frames.length === 1, { what: 'the answer' });
    first.socket.send('end');
    await until(() => second.frames.length === 1, { what: 'the end' });
    expect(first.frames[0]).toBe('{"type":"heartbeat"}');
    expect(second.frames).toEqual(['end']);
  });

  test('[PL4] [PL9] given a silent plain client and a client that sends heartbeats, when idle connections are checked, then only the silent client is closed', async () => {
    const { token } = await login();
    const headers = { authorization: `Bearer ${token}` };
    await using quick = await startGateway(fleet.stores, fleet.sessions.opsUrl, {
      PLAIN_SILENCE_MS: '400',
      PLAIN_SWEEP_MS: '100',
    });
    const [silent, alive] = [
      await raw('/ws?group=sweep', headers, quick),
      await raw('/ws?group=sweep', headers, quick),
    ];
    const timer = setInterval(() => alive.socket.send('{"type":"heartbeat"}'), 100);
    expect(await silent.closed).toEqual({ code: 3012, reason: 'no heartbeat' });
    await new Promise((resolve) => setTimeout(resolve, 500));
    clearInterval(timer);
    expect(alive.socket.readyState).toBe(alive.socket.OPEN);
    expect(await quick.metric('gateway_heartbeat_timeouts_total')).toBe(1);
  });
});

describe('idle plain clients', () => {
  test('[PL7] given a plain client that only answers pings, when idle connections are checked, then it stays open', async () => {
    const { token } = await login();
    await using quick = await startGateway(fleet.stores, fleet.sessions.opsUrl, {
      PING_INTERVAL_MS: '200',
      PONG_TIMEOUT_MS: '100',
      PLAIN_SILENCE_MS: '800',
      PLAIN_SWEEP_MS: '100',
    });
    const listener = await raw('/ws?group=listeners', { authorization: `Bearer ${token}` }, quick);
    const pings: number[] = [];
    listener.socket.on('ping', () => pings.push(performance.now()));
    await until(() => pings.length > 8, { what: 'pings for longer than the longest silence' });
    expect([listener.socket.readyState, listener.frames]).toEqual([listener.socket.OPEN, []]);
  });
});

describe('drain', () => {
  test('[DR1] [DR6] [DR7] given a draining gateway, when a client upgrades, then it is rejected with 503, and open connections are closed with 3001', async () => {
    const { token } = await login();
    const leaving = await startGateway(fleet.stores, fleet.sessions.opsUrl, { INSTANCE_NAME: 'gw-3' });
    const clients = await Promise.all(
      Array.from({ length: 10 }, async () => {
        const client = await raw('/connection/websocket', {}, leaving);
        client.send({ id: 1, connect: { token } });
        await client.reply(1);
        return client;
      }),
    );
    const draining = leaving.app.drain(new AbortController().signal);
    expect((await fetch(`${leaving.url}/readyz`)).status).toBe(503);
    await expect(openSocket(`${leaving.wsUrl}/connection/websocket`)).rejects.toThrow('503');
    for (const { closed } of clients) expect(await closed).toEqual({ code: 3001, reason: 'shutdown' });
    await draining;
    await leaving[Symbol.asyncDispose]();
  });
});
