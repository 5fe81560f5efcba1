import { setTimeout as sleep } from 'node:timers/promises';
import { createMetrics } from '@muster/kit/metrics';
import { openRedis } from '@muster/kit/redis/connection';
import { systemRandom } from '@muster/kit/runtime';
import { createTicketStore } from '@muster/session/tickets';
import { migrate } from '@muster/session-service/postgres/migration-runner';
import { type DedicatedStore, openDedicatedRedis } from '@muster/testkit/dedicated-store';
import { createInMemoryLog } from '@muster/testkit/in-memory-log';
import { useTestStores } from '@muster/testkit/stores';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { cookieOf, ORIGIN, startService, type TestService } from './fixture.ts';

const stores = useTestStores({ migrate });
let stack: AsyncDisposableStack;
let redis: DedicatedStore;
let service: TestService;

beforeAll(async () => {
  stack = new AsyncDisposableStack();
  redis = stack.use(await openDedicatedRedis());
  service = stack.use(
    await startService(
      { databaseUrl: stores.databaseUrl, redisUrl: redis.url, redisPrefix: 't:' },
      { SESSION_LIMIT_PER_MINUTE: '20', FAILURE_LIMIT_PER_MINUTE: '10', GUEST_LIMIT_PER_MINUTE: '5' },
    ),
  );
});
afterAll(() => stack.disposeAsync());

const connect = () =>
  openRedis(
    {
      url: redis.url,
      prefix: 't:',
      maxConnections: 5,
      connectTimeoutMs: 1000,
      commandTimeoutMs: 1000,
      name: 'test',
    },
    { log: createInMemoryLog(), metrics: createMetrics({ service: 'test', version: '0' }) },
  );
const login = async (more: object = {}) =>
  (await service.service('POST', '/v1/sessions', { user_id: 'u_1', ...more })).body as {
    id: string;
    token: string;
  };

test('[SE43] given many tokens, each has a result in order', async () => {
  const [live, over, foreign] = [await login({ data: { a: 1 } }), await login(), await login({ tenant: 'acme' })];
  await service.service('DELETE', `/v1/sessions/${over.id}`);
  const old = await login({ auth: { aal: 1, time: '2020-01-01T00:00:00Z' } });
  const { body, status } = await service.service('POST', '/v1/sessions/check', {
    tokens: [
      { token: live.token },
      { token: over.token },
      { token: 'forged' },
      { token: live.token, require: { aal: 2 } },
      { token: old.token, require: { max_auth_age: 60 } },
      { token: foreign.token, require: { tenant: 'default' } },
      { token: live.token, require: { aal: 1, max_auth_age: 60, tenant: 'default' } },
    ],
  });
  expect(status).toBe(200);
  expect(body.items).toMatchObject([
    { active: true, session: { id: live.id, data: { a: 1 } } },
    { active: false, reason: 'admin' },
    { active: false, reason: 'invalid' },
    { active: false, reason: 'step_up_required' },
    { active: false, reason: 'step_up_required' },
    { active: false, reason: 'unknown' },
    { active: true },
  ]);
  const { key } = (
    await service.service('POST', '/v1/api-keys', {
      name: 'acme',
      scopes: ['sessions:check'],
      tenant: 'acme',
    })
  ).body;
  const own = await service.bearer(key, 'POST', '/v1/sessions/check', {
    tokens: [{ token: live.token }, { token: foreign.token }],
  });
  expect(own.body.items).toMatchObject([{ active: false, reason: 'unknown' }, { active: true }]);
  const many = { tokens: Array.from({ length: 201 }, () => ({ token: 'x' })) };
  expect((await service.service('POST', '/v1/sessions/check', many)).status).toBe(422);
});

test('[SE44] given own origins and pages, a ticket is issued', async () => {
  const opened = await service.service('POST', '/v1/sessions', { user_id: 'u_2', transport: 'cookie' });
  const cookie = cookieOf(opened);
  const made = await service.cookie(cookie, 'POST', '/v1/session/ws-ticket');
  expect(made.status).toBe(201);
  expect(made.body).toEqual({ ticket: expect.stringMatching(/^t_[\w-]{43}$/), expires_in: 30 });
  const foreign = await service.cookie(cookie, 'POST', '/v1/session/ws-ticket', {
    origin: 'https://evil.example',
  });
  expect(foreign.body.type).toBe('/problems/origin-not-allowed');
  const crossSite = { 'sec-fetch-site': 'cross-site' };
  expect((await service.cookie(cookie, 'POST', '/v1/session/ws-ticket', {}, crossSite)).status).toBe(403);
  await using own = await connect();
  const tickets = createTicketStore({ redis: own, random: systemRandom });
  expect(await tickets.redeem(made.body.ticket, ORIGIN)).toMatchObject({
    id: opened.body.id,
    origin: ORIGIN,
  });
  expect(await tickets.redeem(made.body.ticket, ORIGIN)).toBeUndefined();
});

test('[TI1] given a ticket, it is valid once, in time and for its origin; Redis has no usable form', async () => {
  await using own = await connect();
  const tickets = createTicketStore({ redis: own, random: systemRandom });
  const { id } = await login();
  const holder = { id: id as never, secretHash: 'h', origin: ORIGIN };
  const ticket = await tickets.issue(holder);
  const keys = await own.lane().keys('t:t:*');
  expect(JSON.stringify(keys)).not.toContain(ticket.slice(2));
  const [left] = await Promise.all(keys.map((key) => own.lane().ttl(key)));
  expect(left).toBeLessThanOrEqual(30);
  const both = await Promise.all([tickets.redeem(ticket, ORIGIN), tickets.redeem(ticket, ORIGIN)]);
  expect(both.filter((one) => one !== undefined)).toHaveLength(1);
  const other = await tickets.issue(holder);
  expect(await tickets.redeem(other, 'https://evil.example')).toBeUndefined();
  expect(await tickets.redeem(other, ORIGIN)).toBeUndefined();
  expect(await tickets.redeem(await tickets.issue(holder), undefined)).toBeUndefined();
  expect(await tickets.redeem(await tickets.issue({ ...holder, origin: null }), undefined)).toBeDefined();
  for (const guess of ['', 't_', 'x'.repeat(45), `t_${'A'.repeat(43)}`]) {
    expect(await tickets.redeem(guess, ORIGIN)).toBeUndefined();
  }
  const late = await tickets.issue(holder);
  for (const key of await own.lane().keys('t:t:*')) await own.lane().pexpire(key, 1);
  await sleep(20);
  expect(await tickets.redeem(late, ORIGIN)).toBeUndefined();
});

test('[SE42] given a session, its requests are limited and responses have the remaining number', async () => {
  const [one, other] = [await login(), await login()];
  const answers = [];
  for (let n = 0; n < 21; n += 1) answers.push(await service.bearer(one.token, 'GET', '/v1/session'));
  expect(answers[0]!.headers.get('ratelimit-policy')).toBe('"session";q=20;w=60');
  expect(answers[0]!.headers.get('ratelimit')).toMatch(/^"session";r=19;t=\d+$/);
  expect(answers[19]!.status).toBe(200);
  const last = answers[20]!;
  expect(last.status).toBe(429);
  expect(last.body.type).toBe('/problems/rate-limited');
  expect(Number(last.headers.get('retry-after'))).toBeGreaterThan(0);
  expect((await service.bearer(other.token, 'GET', '/v1/session')).status).toBe(200);
});

test('[SE42] given guests, they are counted in Redis, without it per process', async () => {
  const open = (ip: string) => service.call('POST', '/v1/guest-sessions', { headers: { 'x-forwarded-for': ip } });
  for (let n = 0; n < 5; n += 1) expect((await open('203.0.113.1')).status).toBe(201);
  expect((await open('203.0.113.1')).status).toBe(429);
  expect((await open('203.0.113.2')).status).toBe(201);
  await redis.stop();
  for (let n = 0; n < 5; n += 1) expect((await open('203.0.113.3')).status).toBe(201);
  expect((await open('203.0.113.3')).status).toBe(429);
  const ticket = await service.bearer((await login()).token, 'POST', '/v1/session/ws-ticket');
  expect(ticket.status).toBe(503);
  expect(ticket.body.type).toBe('/problems/redis-unavailable');
  await redis.start();
});

test('[SE42] [SE91] given an address with invalid tokens, it is refused for a while and valid tokens are not', async () => {
  const guess = (ip: string) => service.bearer('guess', 'GET', '/v1/session', undefined, { 'x-forwarded-for': ip });
  for (let n = 0; n < 10; n += 1) expect((await guess('198.51.100.1')).status).toBe(401);
  const refused = await guess('198.51.100.1');
  expect(refused.status).toBe(429);
  expect((await guess('198.51.100.2')).status).toBe(401);
  const { token } = await login();
  const own = await service.bearer(token, 'GET', '/v1/session', undefined, {
    'x-forwarded-for': '198.51.100.1',
  });
  expect(own.status).toBe(200);
  const good = await service.bearer(token, 'GET', '/v1/session', undefined, {
    'x-forwarded-for': '198.51.100.2',
  });
  expect(good.status).toBe(200);
});

test('[SE42] given many guessed API keys, further keys are refused before a look-up', async () => {
  const guess = (n: number) =>
    service.bearer(`sk_${String(n).padStart(43, 'A')}`, 'GET', '/v1/policies', undefined, {
      'x-forwarded-for': '192.0.2.9',
    });
  for (let n = 0; n < 10; n += 1) expect((await guess(n)).status).toBe(401);
  const name = 'db_client_operation_duration_seconds_count{operation="find_api_key"}';
  const before = await service.metric(name);
  expect((await guess(99)).status).toBe(429);
  expect(await service.metric(name)).toBe(before);
});
