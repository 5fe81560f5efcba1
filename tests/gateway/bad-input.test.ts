import { connect } from 'node:net';
import { until } from '@muster/testkit/wait';
import fc from 'fast-check';
import { beforeAll, describe, expect, test } from 'vitest';
import { cookieOf, ORIGIN } from '../session/fixture.ts';
import { openSocket, type RawClient, tryUpgrade, useFleet } from './fixture.ts';

let cookie: string;

const fleet = useFleet({ env: { HANDSHAKE_TIMEOUT_MS: '1500', MAX_CONNECTIONS: '50' }, user: 'u_bad' });
beforeAll(async () => {
  const account = { user_id: 'u_bad', transport: 'cookie' };
  cookie = cookieOf(await fleet.sessions.service('POST', '/v1/sessions', account));
});

const PROTOCOL = '/connection/websocket';
const upgrade = (path: string, headers: Record<string, string> = {}) => tryUpgrade(fleet.gateway.url + path, headers);
const bearer = (value: string) => ({ authorization: `Bearer ${value}` });

const live = async (): Promise<RawClient> => {
  const client = await openSocket(fleet.gateway.wsUrl + PROTOCOL);
  client.send({ id: 1, connect: { token: fleet.token } });
  await client.reply(1);
  return client;
};

describe('upgrades', () => {
  test('[HS1] [HS12] [HS13] given no credential, a token or a cookie, when a client upgrades, then it is accepted and the answer names the gateway', async () => {
    for (const headers of [{}, bearer(fleet.token), { cookie, origin: ORIGIN }, { origin: ORIGIN }]) {
      const answer = await upgrade(PROTOCOL, headers);
      expect(answer.status).toBe(101);
      expect(answer.headers['x-muster-gateway']).toBe('gw-test');
    }
    for (const headers of [bearer(fleet.token), { cookie, origin: ORIGIN }]) {
      expect((await upgrade('/ws?group=a', headers)).status).toBe(101);
    }
  });

  test('[HS2] [HS14] given an empty or a known subprotocol, when a client upgrades, then it is ignored or selected', async () => {
    expect((await upgrade(PROTOCOL, { 'sec-websocket-protocol': '' })).status).toBe(101);
    expect((await upgrade(PROTOCOL, { 'sec-websocket-protocol': ' ' })).status).toBe(101);
    for (const subprotocol of ['centrifuge-json', 'centrifuge-protobuf', 'muster']) {
      const { headers } = await upgrade(PROTOCOL, { 'sec-websocket-protocol': subprotocol });
      expect(headers['sec-websocket-protocol']).toBe(subprotocol);
    }
  });

  test.each([
    'http://evil.example',
    'http://localhost:8081',
    'https://localhost:8080',
    'http://localhost:8080.evil.example',
    'http://LOCALHOST:8080',
    'null',
    '',
  ])(
    '[HS3] given the origin %j, when a client upgrades with any credential, then the answer is 403',
    async (origin) => {
      for (const headers of [{}, bearer(fleet.token), { cookie }]) {
        for (const path of [PROTOCOL, '/ws?group=a']) {
          const answer = await upgrade(path, { origin, ...headers });
          expect(answer.status).toBe(403);
          expect(answer.headers['content-type']).toContain('application/problem+json');
        }
      }
    },
  );

  test('[HS16] given a cookie without Origin, when a client upgrades, then the answer is 403', async () => {
    expect((await upgrade(PROTOCOL, { cookie })).status).toBe(403);
    expect((await upgrade('/ws?group=a', { cookie })).status).toBe(403);
  });

  test('[HS4] given forged, truncated and oversized tokens, when a client upgrades, then the answer is 401 without a look-up', async () => {
    const before = await fleet.gateway.metric('session_validations_total');
    const [id = '', secret = ''] = fleet.token.split('.');
    const bad = [
      `${fleet.token.slice(0, -1)}${fleet.token.endsWith('A') ? 'B' : 'A'}`,
      fleet.token.slice(0, -1),
      fleet.token.slice(0, 50),
      `${id}.${secret}`,
      `${id}.${'A'.repeat(22)}.${fleet.token.split('.')[2]}`,
      'x'.repeat(10_000),
      '',
    ];
    for (const value of bad) {
      expect((await upgrade(PROTOCOL, bearer(value))).status).toBe(401);
      expect((await upgrade('/ws?group=a', bearer(value))).status).toBe(401);
      const forged = { cookie: `session_id=${encodeURIComponent(`s:${value}`)}`, origin: ORIGIN };
      expect((await upgrade(PROTOCOL, forged)).status).toBe(401);
    }
    expect(await fleet.gateway.metric('session_validations_total{result="invalid",source="local"}')).toBeGreaterThan(
      before,
    );
    // Every result is local: neither Redis nor the session service was queried.
    for (const source of ['redis', 'service']) {
      expect(await fleet.gateway.metric(`session_validations_total{result="invalid",source="${source}"}`)).toBe(0);
    }
  });

  test('[HS17] given a forged token, when a client sends connect, then the connection is closed with 3500', async () => {
    const client = await openSocket(fleet.gateway.wsUrl + PROTOCOL);
    client.send({ id: 1, connect: { token: fleet.token.slice(0, -1) } });
    expect(await client.closed).toEqual({ code: 3500, reason: 'invalid token' });
  });

  test('[HS5] [HS18] [HS19] given no credential, an invalid group or a private group, when a client upgrades to the plain endpoint, then the answer is 401, 400 or 403', async () => {
    expect((await upgrade('/ws?group=a')).status).toBe(401);
    for (const query of ['', '?group=', `?group=${'x'.repeat(256)}`, '?group=caf%C3%A9', '?group=%00']) {
      expect((await upgrade(`/ws${query}`, bearer(fleet.token))).status).toBe(400);
    }
    expect((await upgrade('/ws?group=%24vip', bearer(fleet.token))).status).toBe(403);
  });

  test('[HS6] [HS20] given a request that is not a handshake, or another path, when it is sent, then the answer is a problem', async () => {
    expect((await upgrade('/elsewhere')).status).toBe(404);
    expect((await upgrade(PROTOCOL, { 'sec-websocket-version': '7' })).status).toBe(400);
    expect((await upgrade(PROTOCOL, { 'sec-websocket-key': 'short' })).status).toBe(400);
    expect((await fetch(fleet.gateway.url + PROTOCOL)).status).toBe(400);
    expect((await fetch(fleet.gateway.url + PROTOCOL, { method: 'POST' })).status).toBe(405);
    const nowhere = await fetch(`${fleet.gateway.url}/nowhere`);
    expect(nowhere.status).toBe(404);
    expect(nowhere.headers.get('content-type')).toContain('application/problem+json');
  });

  test('[HS7] given MAX_CONNECTIONS sockets, when a client upgrades, then the answer is 503 with Retry-After', async () => {
    await until(async () => (await fleet.gateway.metric('gateway_connections')) === 0, {
      what: 'no connections',
    });
    const clients = await Promise.all(Array.from({ length: 50 }, () => openSocket(fleet.gateway.wsUrl + PROTOCOL)));
    const answer = await upgrade(PROTOCOL);
    expect(answer.status).toBe(503);
    expect(Number(answer.headers['retry-after'])).toBeGreaterThan(0);
    for (const { socket } of clients) socket.terminate();
    await until(async () => (await fleet.gateway.metric('gateway_connections')) === 0, {
      what: 'no connections',
    });
    expect(await fleet.gateway.metric('gateway_handshakes_total{result="rejected_overload"}')).toBe(1);
  });

  test('[HS8] given bytes that are not HTTP, and cut connections, when they arrive, then other clients are not affected', async () => {
    for (const bytes of ['\u0000\u0001\u0002', 'GET', `GET ${PROTOCOL} HTTP/1.1\r\nUpgrade: websocket\r\n`]) {
      const socket = connect(fleet.gateway.app.port, '127.0.0.1');
      socket.on('error', () => {});
      await new Promise<void>((resolve) => socket.write(bytes, () => resolve()));
      socket.resetAndDestroy();
    }
    expect((await live()).socket.readyState).toBe(1);
  });
});

describe('frames', () => {
  test('[FR2] given malformed frames, when a client sends them, then the connection is closed with 3501 and they are counted', async () => {
    for (const frame of ['', '{', 'hello', '[]', '{"id":1}\n\n{}', '{"id":"x","publish":{}}']) {
      const client = await live();
      client.send(frame);
      expect(await client.closed).toEqual({ code: 3501, reason: 'bad request' });
    }
    expect(await fleet.gateway.metric('gateway_refusals_total')).toBeGreaterThanOrEqual(6);
  });

  test('[FR10] [VL12] given a message of 65536 bytes and a longer message, when a client sends them, then the first is handled and the second closes with 1009', async () => {
    const client = await live();
    const frame = (size: number) => {
      const head = '{"id":2,"publish":{"channel":"big","data":"';
      return `${head}${'x'.repeat(size - head.length - 3)}"}}`;
    };
    client.send(frame(65_536));
    expect(await client.reply(2)).toEqual({ id: 2, publish: {} });
    client.send(frame(65_537));
    expect(await client.closed).toEqual({ code: 1009, reason: 'message too big' });
    const plain = await openSocket(`${fleet.gateway.wsUrl}/ws?group=big`, bearer(fleet.token));
    plain.socket.send('x'.repeat(65_537));
    expect(await plain.closed).toEqual({ code: 1009, reason: 'message too big' });
    const counted = () => fleet.gateway.metric('gateway_refusals_total{reason="too_big"}');
    await until(async () => (await counted()) === 2, { what: 'both to be counted' });
    expect(await fleet.gateway.metric('gateway_disconnects_total{initiator="server",code="1009"}')).toBe(2);
  });

  test('[VL2] given bytes that are not JSON, when a client sends them, then the connection is closed with 3501', async () => {
    const client = await live();
    client.socket.send(Buffer.from([1, 2, 3]));
    expect(await client.closed).toMatchObject({ code: 3501 });
  });

  test('[CN6] given a client that sends no connect, when HANDSHAKE_TIMEOUT_MS pass, then the connection is closed with 3502', async () => {
    const client = await openSocket(fleet.gateway.wsUrl + PROTOCOL);
    expect(await client.closed).toEqual({ code: 3502, reason: 'stale' });
  });

  test('[VL5] given an open socket, when the client sends a WebSocket ping, then the gateway answers with a pong', async () => {
    const client = await live();
    const pong = new Promise<Buffer>((resolve) => client.socket.once('pong', resolve));
    client.socket.ping('probe');
    expect((await pong).toString()).toBe('probe');
    client.socket.terminate();
  });

  test('[FR9] given random frames, when clients send them, then other clients are not affected', async () => {
    const observer = await live();
    const part = fc.constantFrom('{', '}', '"', ':', ',', '[', ']', '1', 'id', 'publish', 'channel', '__proto__', '\\');
    const frames = fc.oneof(
      fc.string({ unit: 'binary', maxLength: 200 }),
      fc.string({ unit: part, maxLength: 60 }),
      fc.json().map((json) => `{"id":7,"publish":{"channel":"__proto__","data":${json}}}`),
      fc
        .record({ id: fc.integer(), subscribe: fc.record({ channel: fc.string(), offset: fc.double() }) })
        .map((command) => JSON.stringify(command)),
    );
    await fc.assert(
      fc.asyncProperty(fc.array(frames, { maxLength: 5 }), async (all) => {
        const client = await live();
        for (const frame of all) client.socket.send(frame);
        client.socket.close(1000);
        const { code } = await client.closed;
        expect([1000, 3501]).toContain(code);
      }),
      { numRuns: 60 },
    );
    observer.send({ id: 9, publish: { channel: 'fine', data: 1 } });
    expect(await observer.reply(9)).toEqual({ id: 9, publish: {} });
    observer.socket.terminate();
    expect(fleet.gateway.log.lines.filter(({ level }) => level === 'error')).toEqual([]);
  });
});
