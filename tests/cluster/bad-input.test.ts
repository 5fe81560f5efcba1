import { once } from 'node:events';
import type { LocalFleet } from '@muster/fleet/fleet';
import { afterAll, beforeAll, expect, test } from 'vitest';
import WebSocket from 'ws';
import { signInUser } from './clients.ts';
import { startDedicatedFleet } from './dedicated-fleet.ts';

/** Input of unknown clients, through the load balancer. */
let fleet: LocalFleet;
let about: ReturnType<LocalFleet['describe']>;
let token = '';
let cookie = '';

beforeAll(async () => {
  fleet = await startDedicatedFleet({}, 1);
  about = fleet.describe();
  const byToken = await signInUser(about, 'ann');
  const byCookie = await signInUser(about, 'ann', 'cookie');
  token = 'token' in byToken.credential ? byToken.credential.token : '';
  cookie = 'cookie' in byCookie.credential ? byCookie.credential.cookie : '';
});
afterAll(async () => {
  const after = fleet.describe();
  expect([...after.gateways, ...after.sessionServices].map(({ pid }) => pid)).toEqual(
    [...about.gateways, ...about.sessionServices].map(({ pid }) => pid),
  );
  await fleet[Symbol.asyncDispose]();
});

const call = (path: string, init?: RequestInit) => fetch(fleet.publicUrl + path, init);
const metrics = async (opsUrl: string | undefined) => (await fetch(`${opsUrl}/metrics`)).text();
const wsUrl = (path: string) => fleet.publicUrl.replace('http', 'ws') + path;

/** The status with which an upgrade is refused. */
const refusal = async (path: string, headers: Record<string, string>): Promise<number> => {
  const socket = new WebSocket(wsUrl(path), { headers });
  socket.on('error', () => {});
  const outcome = await Promise.race([
    once(socket, 'unexpected-response').then(([, response]) => response.statusCode as number),
    once(socket, 'open').then(() => 101),
  ]);
  socket.terminate();
  return outcome;
};

/** The code with which a connection is closed after it has sent these frames. */
const closeAfter = async (frames: readonly (string | Buffer)[]): Promise<number> => {
  const socket = new WebSocket(wsUrl('/connection/websocket'));
  await once(socket, 'open');
  for (const frame of frames) socket.send(frame);
  const [code, reason] = await once(socket, 'close');
  expect(String(reason)).not.toBe(code === 1009 ? undefined : '');
  return code as number;
};
const connect = () => JSON.stringify({ id: 1, connect: { token } });

test('[HS4] tokens with an invalid signature are rejected with 401 without a look-up in a store', async () => {
  const [service] = about.sessionServices;
  const asked = async () =>
    (await metrics(service?.opsUrl))
      .split('\n')
      .filter((line) =>
        /^(db_client_operation_duration_seconds_count.*"find_sessions"|session_validations_total.*source="(redis|postgres)")/.test(
          line,
        ),
      );
  const forged = [
    ...Array.from({ length: token.length }, (_, length) => token.slice(0, length)),
    `${token.slice(0, -1)}${token.endsWith('A') ? 'B' : 'A'}`,
    token.toUpperCase(),
    'x'.repeat(8_000),
    `${token}${'y'.repeat(200)}`,
    '..',
  ];
  const before = await asked();
  const statuses = await Promise.all(
    forged.map(async (one) => (await call('/v1/session', { headers: { authorization: `Bearer ${one}` } })).status),
  );
  expect(new Set(statuses)).toEqual(new Set([401]));
  expect(await asked()).toEqual(before);
  expect(await refusal('/ws?group=a', { authorization: `Bearer ${token.slice(0, 50)}` })).toBe(401);
});

test('[HS3] [HS16] a foreign origin is rejected before the upgrade', async () => {
  for (const origin of [
    'https://evil.example',
    'null',
    `${fleet.publicUrl}.evil.example`,
    fleet.publicUrl.toUpperCase(),
  ]) {
    expect(await refusal('/connection/websocket', { cookie, origin }), origin).toBe(403);
    expect(await refusal('/ws?group=a', { cookie, origin }), origin).toBe(403);
  }
  expect(await refusal('/ws?group=a', { cookie }), 'a cookie without origin').toBe(403);
  expect(await refusal('/ws?group=a', { cookie, origin: fleet.publicUrl })).toBe(101);
});

test('[VL1] [VL2] malformed frames close the connection with 3501', async () => {
  const wrong = [
    'not json',
    '[]',
    '{"id":1}',
    '{"id":1,"subscribe":{"channel":"a"}}',
    '',
    '{"id":-1,"connect":{}}',
    '{"connect":{}}',
  ];
  for (const frame of wrong) expect(await closeAfter([frame]), frame).toBe(3501);
  expect(await closeAfter([connect(), connect()]), 'a second connect').toBe(3501);
  expect(await closeAfter([connect(), '{"id":2,"nonsense":{}}']), 'an unknown method').toBe(3501);
  expect(await closeAfter([connect(), '{"id":2,"subscribe":{"channel":""}}']), 'an empty group').toBe(3501);
});

test('[VL12] a message above 65,536 bytes closes the connection with 1009', async () => {
  const head = '{"id":2,"publish":{"channel":"a","data":"';
  const message = (size: number) => `${head}${'x'.repeat(size - head.length - 3)}"}}`;
  expect(message(65_537)).toHaveLength(65_537);
  expect(await closeAfter([connect(), message(65_537)])).toBe(1009);
});

test('[HS17] an invalid token in the connect command closes the connection with 3500', async () => {
  expect(await closeAfter([JSON.stringify({ id: 1, connect: { token: 'nonsense' } })])).toBe(3500);
});

test('[HT1] [HT2] [HT3] [HT4] unknown routes, methods and invalid bodies are rejected with a problem', async () => {
  const cases: [string, RequestInit, number][] = [
    ['/v1/nothing', {}, 404],
    ['/v1/session', { method: 'PUT' }, 405],
    ['/connection/websocket', {}, 400],
    ['/connection/nothing', {}, 404],
    ['/metrics', {}, 404],
    ['/internal/sessions/check', { method: 'POST' }, 404],
  ];
  for (const [path, init, status] of cases) {
    const answer = await call(path, init);
    expect([path, answer.status]).toEqual([path, status]);
    expect(answer.headers.get('content-type'), path).toMatch('application/problem+json');
  }
  const key = { authorization: `Bearer ${about.serviceApiKey}` };
  const post = (body: string, type: string) =>
    call('/v1/sessions', { method: 'POST', body, headers: { ...key, 'content-type': type } });
  expect((await post('{"user_id":"a"}', 'text/plain')).status).toBe(415);
  const malformed = await post('{"user_id":', 'application/json');
  expect([malformed.status, await malformed.json()]).toMatchObject([
    422,
    { detail: [{ loc: ['body', 11], type: 'json_invalid' }] },
  ]);
  const invalid = await post('{"user_id":7,"x":1}', 'application/json');
  expect([invalid.status, await invalid.json()]).toMatchObject([
    422,
    {
      detail: [
        { loc: ['body', 'user_id'], type: 'string_type' },
        { loc: ['body', 'x'], type: 'extra_forbidden' },
      ],
    },
  ]);
});

test('[HT10] [VL1] every rejection is counted', async () => {
  const gateway = await metrics(about.gateways[0]?.opsUrl);
  expect(gateway).toMatch(/gateway_handshakes_total\{result="rejected_origin"\} [1-9]/);
  expect(gateway).toMatch(/gateway_handshakes_total\{result="rejected_auth"\} [1-9]/);
  expect(gateway).toMatch(/gateway_disconnects_total\{[^}]*code="3501"[^}]*\} [1-9]/);
  const service = await metrics(about.sessionServices[0]?.opsUrl);
  for (const code of ['INVALID_TOKEN', 'UNSUPPORTED_MEDIA_TYPE', 'VALIDATION', 'METHOD_NOT_ALLOWED']) {
    expect(service).toMatch(new RegExp(`http_server_refusals_total\\{code="${code}"\\} [1-9]`));
  }
});
