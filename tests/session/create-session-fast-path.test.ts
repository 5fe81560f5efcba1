import { connect } from 'node:net';
import { migrate } from '@muster/session-service/postgres/migration-runner';
import { useTestStores } from '@muster/testkit/stores';
import express from 'express';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { SERVICE_KEY, startService, type TestService } from './fixture.ts';

const stores = useTestStores({ migrate });
/** Every request that reaches Express. The apps copy this function when they are made. */
const expressHandle = vi.spyOn(express.application as unknown as { handle: (...args: unknown[]) => void }, 'handle');
let service: TestService;
let narrowKey = '';
let tenantKey = '';

beforeAll(async () => {
  service = await startService(stores);
  const keyOf = async (more: object): Promise<string> =>
    (await service.service('POST', '/v1/api-keys', { name: 'test', ...more })).body.key;
  narrowKey = await keyOf({ scopes: ['sessions:read'] });
  tenantKey = await keyOf({ scopes: ['sessions:create'], tenant: 'acme', groups: ['room:*'] });
  await service.service('PUT', '/v1/users/full', { max_sessions: 1, at_limit: 'reject' });
  await service.service('POST', '/v1/sessions', { user_id: 'full' });
  await service.service('PUT', '/v1/users/off', { disabled: true });
});
afterAll(() => service?.[Symbol.asyncDispose]());

interface Sent {
  readonly method?: string;
  readonly path?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body: string | Buffer;
}

/** The way of a request. A content encoding is enough for the fast path to leave it to Express, and changes nothing there. */
type Way = 'usual' | 'express';

const send = async ({ method = 'POST', path = '/v1/sessions', headers = {}, body }: Sent, way: Way) => {
  const all: Record<string, string> = {
    host: 'sessions.test',
    authorization: `Bearer ${SERVICE_KEY}`,
    'content-type': 'application/json',
    'content-length': String(Buffer.byteLength(body)),
    'x-request-id': 'request-0001',
    connection: 'close',
    'content-encoding': way === 'express' ? 'identity' : '',
    ...headers,
  };
  const lines = Object.entries(all).flatMap(([name, value]) => (value === '' ? [] : [`${name}: ${value}`]));
  const head = `${method} ${path} HTTP/1.1\r\n${lines.join('\r\n')}\r\n\r\n`;
  const before = expressHandle.mock.calls.length;
  const answer = await new Promise<string>((resolve, reject) => {
    const socket = connect(Number(new URL(service.url).port), '127.0.0.1');
    let text = '';
    socket.on('data', (chunk) => {
      text += chunk;
    });
    socket.on('close', () => resolve(text));
    socket.on('error', reject);
    socket.write(Buffer.concat([Buffer.from(head), Buffer.from(body)]));
  });
  return { answer: comparable(answer), isFast: expressHandle.mock.calls.length === before };
};

/** Without the parts that differ between two equal requests: ids, tokens, instants and counters. */
const comparable = (answer: string): string =>
  answer
    .replaceAll(/[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}/g, 'ID')
    .replaceAll(/ID\.[\w-]{22}\.(?:[A-Za-z0-9+/]|%2B|%2F){43}/g, 'TOKEN')
    .replaceAll(/\d{4}-\d\d-\d\dT[\d:.]+Z/g, 'INSTANT')
    .replaceAll(/\r\nDate: .*/g, '\r\nDate: NOW')
    .replaceAll(/r=\d+;t=\d+/g, 'r=N;t=S')
    .replaceAll(/Max-Age=\d+/g, 'Max-Age=S')
    // The signature of a token in a cookie is percent-encoded, so its length varies.
    .replaceAll(/\r\nContent-Length: \d+/g, '\r\nContent-Length: N');

/** The first answer before Express: a key that was read from the database is known for 200 ms. */
const onceKnown = async (request: Sent) => {
  for (let tries = 0; tries < 20; tries += 1) {
    const answer = await send(request, 'usual');
    if (answer.isFast) return answer;
  }
  throw new Error('the key was never known');
};

const json = (value: object, headers: Record<string, string> = {}): Sent => ({ body: JSON.stringify(value), headers });

/** Name, request, status, and true if the request does not reach Express. */
const REQUESTS: readonly (readonly [string, () => Sent, number, boolean])[] = [
  ['a bearer token', () => json({ user_id: 'ann' }), 201, true],
  ['a cookie', () => json({ user_id: 'ann', transport: 'cookie' }), 201, true],
  [
    'a cookie that ends with the browser',
    () => json({ user_id: 'a', transport: 'cookie', remember: false }),
    201,
    true,
  ],
  ['a guest', () => json({}), 201, true],
  [
    'every member',
    () =>
      json({
        ...{ user_id: 'ben', tenant: 'acme', policy: 'session', label: 'Büro', ip: '203.0.113.9', country: 'DE' },
        ...{ client: { kind: 'ios', summary: 'iPhone', device_id: 'd1' }, user_agent: 'curl/8.9', remember: true },
        ...{ auth: { aal: 2, amr: ['pwd'], idp: 'x', idp_sid: 'y', idp_sub: 'z' }, data: { a: { b: [1, null] } } },
        grants: [{ allow: ['publish'], groups: 'room:*' }],
      }),
    201,
    true,
  ],
  ['a charset', () => json({ user_id: 'ann' }, { 'content-type': 'application/json; charset=utf-8' }), 201, true],
  ['a request id that is too short', () => json({ user_id: 'ann' }, { 'x-request-id': 'short' }), 201, true],
  ['a forwarded address', () => json({ user_id: 'ann' }, { 'x-forwarded-for': '203.0.113.50' }), 201, true],
  ['a user at the limit', () => json({ user_id: 'full' }), 409, true],
  ['a disabled user', () => json({ user_id: 'off' }), 409, true],
  ['an idempotency key that is not printable', () => json({ user_id: 'a' }, { 'idempotency-key': 'a b' }), 422, true],
  ['an actor', () => json({ user_id: 'ann', actor: { id: 'admin' } }), 201, false],
  ['a time of authentication', () => json({ user_id: 'ann', auth: { time: '2026-01-01T00:00:00Z' } }), 201, false],
  ['an unknown member', () => json({ user_id: 'ann', other: 1 }), 422, false],
  ['a reserved name', () => ({ body: '{"user_id":"ann","data":{"__proto__":1}}' }), 422, false],
  ['a number that is not exact', () => ({ body: '{"user_id":"ann","data":{"n":9007199254740993}}' }), 422, false],
  ['text instead of JSON', () => ({ body: '{"user_id":' }), 422, false],
  ['bytes that are not UTF-8', () => ({ body: Buffer.from([0x22, 0xff, 0x22]) }), 422, false],
  ['a body of 5 KiB', () => json({ user_id: 'ann', data: { text: 'x'.repeat(5_000) } }), 201, false],
  ['another type', () => json({ user_id: 'ann' }, { 'content-type': 'text/plain' }), 415, false],
  ['no body', () => ({ body: '' }), 201, false],
  ['no key', () => json({ user_id: 'ann' }, { authorization: '' }), 401, false],
  ['another key', () => json({ user_id: 'ann' }, { authorization: `Bearer sk_${'x'.repeat(43)}` }), 401, false],
  ['a query', () => ({ ...json({ user_id: 'ann' }), path: '/v1/sessions?a=1' }), 201, false],
  ['another method', () => ({ ...json({ user_id: 'ann' }), method: 'PUT' }), 405, false],
];

describe('[SE115] given one table of requests', () => {
  test.each(REQUESTS)('%s has the same response before and in Express', async (_name, request, status, isFast) => {
    const usual = await send(request(), 'usual');
    expect(usual.answer).toMatch(new RegExp(`^HTTP/1\\.1 ${status} `));
    expect(usual.isFast).toBe(isFast);
    const inExpress = await send(request(), 'express');
    expect(inExpress.isFast).toBe(false);
    expect(usual.answer).toBe(inExpress.answer);
  });

  test('a key of the database is looked up by Express and then known', async () => {
    const request = json(
      { user_id: 'ann', grants: [{ groups: 'room:1', allow: ['publish'] }] },
      {
        authorization: `Bearer ${tenantKey}`,
      },
    );
    const first = await send(request, 'usual');
    expect(first.isFast).toBe(false);
    const refused = await send(json({ user_id: 'ann' }, { authorization: `Bearer ${narrowKey}` }), 'usual');
    expect([refused.isFast, refused.answer.slice(0, 12)]).toEqual([false, 'HTTP/1.1 403']);
    const second = await onceKnown(request);
    expect(second.answer).toBe(first.answer);
    expect(second.answer).toContain('"tenant":"acme"');
    for (const excess of [{ tenant: 'other' }, { grants: [{ groups: 'hall:1', allow: ['publish'] }] }]) {
      const denied = json({ user_id: 'ann', ...excess }, { authorization: `Bearer ${tenantKey}` });
      const [before, inExpress] = [await onceKnown(denied), await send(denied, 'express')];
      expect(inExpress.isFast).toBe(false);
      expect(before.answer).toBe(inExpress.answer);
      expect(before.answer).toMatch(/^HTTP\/1\.1 403 /);
    }
  });

  test('a repeat with the same idempotency key has the same session on either way', async () => {
    const one = json({ user_id: 'cat', data: { b: 1, a: 2 } }, { 'idempotency-key': 'key-of-both-ways' });
    const whole = async (way: Way) => {
      const answer = await service.call('POST', '/v1/sessions', {
        headers: { ...one.headers, authorization: `Bearer ${SERVICE_KEY}`, 'content-type': 'application/json' },
        body: String(one.body),
      });
      return way === 'usual' ? answer.body.token : (await send(one, 'express')).answer;
    };
    const first = await whole('usual');
    expect(first).toEqual(await whole('usual'));
    expect(await whole('express')).toContain('Idempotent-Replayed: true');
    expect((await send(one, 'usual')).answer).toBe((await send(one, 'express')).answer);
  });

  test('requests and refusals of both ways are measured and logged alike', async () => {
    const durations = (status: number) =>
      service.metric(
        `http_server_request_duration_seconds_count{http_request_method="POST",http_route="/v1/sessions",http_response_status_code="${status}"}`,
      );
    const refusals = () => service.metric('http_server_refusals_total{code="USER_DISABLED"}');
    const grown = async (way: Way) => {
      const before = [await durations(201), await durations(409), await refusals()];
      await send(json({ user_id: 'ann' }), way);
      await send(json({ user_id: 'off' }), way);
      const after = [await durations(201), await durations(409), await refusals()];
      return after.map((value, at) => value - (before[at] ?? 0));
    };
    expect(await grown('usual')).toEqual([1, 1, 1]);
    expect(await grown('express')).toEqual([1, 1, 1]);
    expect(await service.metric('http_server_active_requests')).toBe(0);
    const lines = async (way: Way) => {
      const before = service.log.of('http.request_refused').length;
      await send(json({ user_id: 'a' }, { 'idempotency-key': 'a b' }), way);
      return service.log.of('http.request_refused').slice(before);
    };
    const [before, inExpress] = [await lines('usual'), await lines('express')];
    expect(before).toHaveLength(1);
    expect(before).toEqual(inExpress);
  });
});
