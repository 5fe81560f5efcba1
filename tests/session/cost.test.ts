import { Agent, request } from 'node:http';
import { migrate } from '@muster/session-service/postgres/migration-runner';
import { cpuGrowthOf, MAX_CPU_GROWTH } from '@muster/testkit/cpu-growth';
import { useTestStores } from '@muster/testkit/stores';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { SERVICE_KEY, startService, type TestService } from './fixture.ts';

const stores = useTestStores({ migrate });
let service: TestService;

beforeAll(async () => {
  service = await startService(stores, {
    OIDC_ISSUERS: JSON.stringify([{ name: 'acme', issuer: 'http://127.0.0.1:9', audience: ['muster'] }]),
    KEY_LIMIT_PER_MINUTE: '0',
    FAILURE_LIMIT_PER_MINUTE: '0',
  });
});
afterAll(async () => {
  agent.destroy();
  await service?.[Symbol.asyncDispose]();
});

interface Call {
  readonly method?: string;
  readonly path: string;
  readonly headers?: Record<string, string>;
  readonly body?: string;
}

const agent = new Agent({ keepAlive: true, maxSockets: 1 });
const statusOf = ({ method = 'GET', path, headers = {}, body }: Call): Promise<number> =>
  new Promise((resolve, reject) => {
    const length = body === undefined ? {} : { 'content-length': Buffer.byteLength(body) };
    const sent = request(service.url + path, { method, headers: { ...headers, ...length }, agent });
    sent.on('error', reject);
    sent.on('response', (answer) => {
      answer.resume();
      answer.on('end', () => resolve(answer.statusCode ?? 0));
    });
    sent.end(body);
  });

const KEY = { authorization: `Bearer ${SERVICE_KEY}` };
const json = (path: string, body: string): Call => ({
  method: 'POST',
  path,
  headers: { ...KEY, 'content-type': 'application/json' },
  body,
});
const list = (size: number, one: (n: number) => string, between = ',') =>
  Array.from({ length: size }, (_, n) => one(n)).join(between);

/**
 * The growing part, the size of the smaller input, the status of both, and the call. Headers end at 16 KB, bodies at 64
 * KB.
 */
const INPUTS: readonly [what: string, size: number, status: number, call: (size: number) => Call][] = [
  ['unknown members of a body', 600, 422, (n) => json('/v1/sessions', `{${list(n, (i) => `"k${i}":1`)}}`)],
  [
    'members of data',
    400,
    422,
    (n) => json('/v1/sessions', `{"user_id":"","data":{${list(n, (i) => `"k${i}":[1]`)}}}`),
  ],
  [
    'numbers of data that cannot be kept',
    300,
    422,
    (n) => json('/v1/sessions', `{"user_id":"u","data":{"a":[${list(n, () => '9007199254740993')}]}}`),
  ],
  [
    'levels of a body',
    1_000,
    422,
    (n) => json('/v1/sessions', `{"user_id":"u","data":${'{"a":'.repeat(n)}1${'}'.repeat(n)}}`),
  ],
  ['bytes of a text', 6_000, 422, (n) => json('/v1/sessions', JSON.stringify({ user_id: 'u', label: ' '.repeat(n) }))],
  [
    'grants of a body',
    100,
    422,
    (n) => json('/v1/sessions', `{"user_id":"u","grants":[${list(n, () => '{"groups":"g","allow":["publish"]}')}]}`),
  ],
  [
    'parameters of a form',
    600,
    400,
    (n) => ({
      method: 'POST',
      path: '/v1/oidc/backchannel-logout',
      headers: { 'content-type': 'application/x-www-form-urlencoded' },
      body: list(n, (i) => `k${i}=%20`, '&'),
    }),
  ],
  [
    'parameters of a query',
    150,
    422,
    (n) => ({ path: `/v1/sessions?${list(n, (i) => `k${i}=%20`, '&')}`, headers: KEY }),
  ],
  [
    'cookies',
    60,
    401,
    (n) => ({ path: '/v1/session', headers: { cookie: list(n, (i) => `session_id=s%3A${i}`, '; ') } }),
  ],
  [
    'bytes of an Authorization header',
    1_400,
    401,
    (n) => ({ path: '/v1/session', headers: { authorization: `Bearer ${' '.repeat(n)}x y` } }),
  ],
  [
    'addresses in X-Forwarded-For',
    120,
    401,
    (n) => ({ path: '/v1/session', headers: { 'x-forwarded-for': list(n, () => '10.1.2.3') } }),
  ],
  [
    'bytes of other headers',
    300,
    401,
    (n) => ({
      path: '/v1/session',
      headers: Object.fromEntries(
        ['x-request-id', 'user-agent', 'origin', 'if-match', 'content-type'].map((name) => [name, 'a '.repeat(n / 2)]),
      ),
    }),
  ],
];

/** Batches of each size: a call is a whole request. */
const ROUNDS = 4;

describe('[SE57] given larger requests, the cost is linear', () => {
  test.each(INPUTS)('given ten times the %s, the CPU time is about ten times', async (_what, size, status, call) => {
    for (const one of [size, size * 10]) expect(await statusOf(call(one))).toBe(status);
    const work = (one: number) => {
      const made = call(one);
      return () => statusOf(made);
    };
    expect(await cpuGrowthOf(size, work, ROUNDS)).toBeLessThan(MAX_CPU_GROWTH);
  });
});
