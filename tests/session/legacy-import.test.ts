import type { AddressInfo } from 'node:net';
import { migrate } from '@muster/session-service/postgres/migration-runner';
import { openDedicatedRedis } from '@muster/testkit/dedicated-store';
import { useTestStores } from '@muster/testkit/stores';
import { RedisStore } from 'connect-redis';
import { sign } from 'cookie-signature';
import express from 'express';
import session from 'express-session';
import { Redis } from 'ioredis';
import { createClient } from 'redis';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type ApiReply, startService, type TestService } from './fixture.ts';

const stores = useTestStores({ migrate });
/** Shorter than any key of ours may be, as in many an application. */
const OLD_SECRET = 'keyboard cat';
let stack: AsyncDisposableStack;
let service: TestService;
let old: string;
let prefix: string;
let redis: Redis;

const startOldApp = async (redisUrl: string, keyPrefix: string, maxAge?: number): Promise<string> => {
  const client = createClient({ url: redisUrl });
  client.on('error', () => {});
  await client.connect();
  stack.defer(() => client.destroy());
  const app = express();
  app.use(
    session({
      store: new RedisStore({ client, prefix: keyPrefix }),
      secret: OLD_SECRET,
      resave: false,
      saveUninitialized: false,
      cookie: maxAge === undefined ? {} : { maxAge },
    }),
  );
  app.post('/login/:user', (req, res) => {
    Object.assign(req.session, { user: { id: req.params.user }, visits: 1 });
    res.sendStatus(204);
  });
  app.post('/visit', (req, res) => {
    const held = req.session as unknown as { visits: number };
    held.visits = (held.visits ?? 0) + 1;
    res.sendStatus(204);
  });
  const server = app.listen(0, '127.0.0.1');
  stack.defer(() => void server.close());
  await new Promise((resolve) => server.once('listening', resolve));
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
};

const legacyEnv = (keyPrefix: string) => ({
  LEGACY_EXPRESS_SESSION: `redis:${keyPrefix}`,
  LEGACY_SESSION_SECRETS: `another,${OLD_SECRET}`,
});

beforeAll(async () => {
  stack = new AsyncDisposableStack();
  prefix = `${stores.redisPrefix}sess:`;
  redis = new Redis(stores.redisUrl);
  stack.defer(() => redis.disconnect());
  service = stack.use(await startService(stores, legacyEnv(prefix)));
  old = await startOldApp(stores.redisUrl, prefix);
});
afterAll(() => stack.disposeAsync());

const call = async (path: string, cookie = '', at = old) =>
  (await fetch(at + path, { method: 'POST', headers: cookie === '' ? {} : { cookie } })).headers
    .get('set-cookie')
    ?.split(';')[0] ?? '';
const login = (user: string, at = old) => call(`/login/${user}`, '', at);
const sidOf = (cookie: string) => {
  const value = decodeURIComponent(cookie.slice(cookie.indexOf('=') + 1));
  return value.slice(2, value.lastIndexOf('.'));
};
const cookieFor = (sid: string) => `connect.sid=${encodeURIComponent(`s:${sign(sid, OLD_SECRET)}`)}`;
/** An old session as some application may have written it. */
const plant = async (sid: string, content: string) => {
  await redis.set(prefix + sid, content, 'PX', 60_000);
  return cookieFor(sid);
};
const me = (cookie: string, at = service) => at.cookie(cookie, 'GET', '/v1/session');
const newCookie = (answer: ApiReply) => answer.headers.getSetCookie()[0]!.split(';')[0]!;

test('[IM1] given an import, the old session is deleted and its cookie leads to the new session for a minute', async () => {
  const cookie = await login('ann');
  const first = await me(cookie);
  expect(first.body).toMatchObject({ user_id: 'ann', data: { user: { id: 'ann' }, visits: 1 } });
  expect(await redis.exists(prefix + sidOf(cookie))).toBe(0);
  const late = await me(cookie);
  expect(late.body.id).toBe(first.body.id);
  expect(newCookie(late)).toBe(newCookie(first));
  const [mark] = (await redis.keys(`${stores.redisPrefix}im:*`)) as [string];
  const life = await redis.pttl(mark);
  expect(life).toBeGreaterThan(30_000);
  expect(life).toBeLessThanOrEqual(60_000);
  await redis.del(mark);
  expect((await me(cookie)).body.type).toBe('/problems/no-session');
  expect((await me(newCookie(first))).body.id).toBe(first.body.id);
});

test('[IM1] given concurrent requests and writes of the old application, one session is opened', async () => {
  const cookie = await login('bob');
  const answers = await Promise.all(
    Array.from({ length: 40 }, async (_, at) => {
      if (at % 4 === 0) await call('/visit', cookie);
      return me(cookie);
    }),
  );
  expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([200]));
  expect(new Set(answers.map(({ body }) => body.id)).size).toBe(1);
  const { body } = await service.service('GET', '/v1/users/bob/sessions?state=all');
  expect(body.items).toHaveLength(1);
});

test('[IM1] given a sign-out within the minute, the old cookie opens no session', async () => {
  const cookie = await login('cat');
  expect((await service.cookie(cookie, 'DELETE', '/v1/session')).status).toBe(204);
  expect((await me(cookie)).status).toBe(401);
  const { body } = await service.service('GET', '/v1/users/cat/sessions?state=all');
  expect(body.items.map((one: { end_reason: string }) => one.end_reason)).toEqual(['logout']);
});

test('[IM1] given a crash during an import, the next request completes it', async () => {
  const cookie = await login('dan');
  const content = (await redis.get(prefix + sidOf(cookie)))!;
  const first = await me(cookie);
  await redis.del(...(await redis.keys(`${stores.redisPrefix}im:*`)));
  await plant(sidOf(cookie), content);
  expect((await me(cookie)).body.id).toBe(first.body.id);
  expect(await redis.exists(prefix + sidOf(cookie))).toBe(0);
});

test('[IM2] given a session cookie or a persistent cookie, the new cookie has the same lifetime', async () => {
  const short = await me(await login('eve'));
  expect(short.headers.getSetCookie()[0]).not.toContain('Max-Age');
  const lasting = await startOldApp(stores.redisUrl, prefix, 3_600_000);
  const long = await me(await login('eve', lasting));
  expect(long.headers.getSetCookie()[0]).toContain('Max-Age');
});

test('[IM2] given an unknown time of login, it is not recent', async () => {
  const answer = await me(await login('fay'));
  expect(answer.body.auth).toMatchObject({ aal: 1, amr: ['legacy'], time: '1970-01-01T00:00:00.000Z' });
  const token = decodeURIComponent(newCookie(answer).split('=')[1]!).slice(2);
  const checked = await service.service('POST', '/v1/sessions/check', {
    tokens: [{ token, require: { max_auth_age: 3_600 } }, { token }],
  });
  expect(checked.body.items.map((one: { active: boolean }) => one.active)).toEqual([false, true]);
});

test('[IM2] given no user id, the session is of a guest; a number is an id', async () => {
  const guest = await me(await plant('guest-1', JSON.stringify({ cookie: {}, cart: [1] })));
  expect(guest.body).toMatchObject({ kind: 'guest', user_id: null, auth: { aal: 0 }, data: { cart: [1] } });
  expect((await me(await plant('number-1', '{"user":{"id":42}}'))).body.user_id).toBe('42');
});

test('[IM3] given an expired, oversized or invalid session, it is ignored and stays', async () => {
  const past = new Date(Date.now() - 1_000).toISOString();
  for (const [sid, content] of Object.entries({
    over: JSON.stringify({ cookie: { expires: past }, user: { id: 'x' } }),
    large: JSON.stringify({ user: { id: 'x' }, data: 'y'.repeat(20_000) }),
    nul: '{"user":{"id":"x"},"a":"\\u0000"}',
    name: '{"user":{"id":"x"},"\\udc00":1}',
    surrogate: '{"user":{"id":"x"},"a":"\\ud800"}',
    list: '[1]',
    text: 'nonsense',
    empty: '',
  })) {
    const answer = await me(await plant(sid, content));
    expect([sid, answer.body.type]).toEqual([sid, '/problems/no-session']);
    expect(answer.headers.getSetCookie()).toEqual([]);
    expect(await redis.get(prefix + sid)).toBe(content);
  }
  expect(await service.metric('session_imports_total')).toBeGreaterThan(0);
});

test('[IM3] given old keys, they verify old cookies only', async () => {
  const { body } = await service.service('POST', '/v1/sessions', { user_id: 'gus' });
  const content = body.token.slice(0, body.token.lastIndexOf('.'));
  const forged = sign(content, OLD_SECRET);
  expect((await service.bearer(forged, 'GET', '/v1/session')).body.type).toBe('/problems/invalid-token');
  const cookie = `session_id=${encodeURIComponent(`s:${forged}`)}`;
  expect((await me(cookie)).body.type).toBe('/problems/invalid-token');
});

test('[IM3] given a bearer token, valid or invalid, the old cookie is not read', async () => {
  const cookie = await login('hal');
  const { body } = await service.service('POST', '/v1/sessions', { user_id: 'ida' });
  const both = (token: string) =>
    service.call('GET', '/v1/session', { headers: { cookie, authorization: `Bearer ${token}` } });
  expect((await both(body.token)).body.user_id).toBe('ida');
  expect((await both('wrong')).body.type).toBe('/problems/invalid-token');
  expect(await redis.exists(prefix + sidOf(cookie))).toBe(1);
});

test('[IM4] given no Redis, the response is 503, and afterwards the session is imported', async () => {
  await using own = await openDedicatedRedis();
  await using other = await startService(
    { databaseUrl: stores.databaseUrl, redisUrl: own.url, redisPrefix: 't:' },
    legacyEnv('sess:'),
  );
  const app = await startOldApp(own.url, 'sess:');
  const cookie = await login('jan', app);
  await own.stop();
  const answer = await me(cookie, other);
  expect(answer.body).toMatchObject({ status: 503, type: '/problems/redis-unavailable' });
  await own.start();
  const until = Date.now() + 10_000;
  let later = await me(cookie, other);
  while (later.status === 503 && Date.now() < until) later = await me(cookie, other);
  expect(later.body).toMatchObject({ user_id: 'jan' });
});
