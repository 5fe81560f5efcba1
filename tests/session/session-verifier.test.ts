import { requireSession, sessionOf, verifyUpgrade } from '@muster/client/express';
import { createMySessions, createSessions } from '@muster/client/sessions';
import { type OpenVerifierOptions, openSessionVerifier } from '@muster/client/verifier';
import { listen } from '@muster/http/listen';
import { systemClock } from '@muster/kit/clock';
import { createMetrics, type Metrics } from '@muster/kit/metrics';
import { openRedis } from '@muster/kit/redis/connection';
import { createSessionVerifier, type Requirements, type SessionVerifier } from '@muster/session/session-verifier';
import { migrate } from '@muster/session-service/postgres/migration-runner';
import { type FaultProxy, openFaultProxy } from '@muster/testkit/fault-proxy';
import { createInMemoryLog } from '@muster/testkit/in-memory-log';
import { useTestStores } from '@muster/testkit/stores';
import { until } from '@muster/testkit/wait';
import express from 'express';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { INTERNAL_KEY, ORIGIN, SECRETS, SERVICE_KEY, startService, type TestService } from './fixture.ts';

const stores = useTestStores({ migrate });
const stack = new AsyncDisposableStack();
let service: TestService;
let toRedis: FaultProxy;
let toService: FaultProxy;
let verifier: SessionVerifier;
let metrics: Metrics;
let app = '';
let require: Requirements = {};

beforeAll(async () => {
  service = stack.use(await startService(stores));
  toRedis = stack.use(await openFaultProxy(stores.redisUrl));
  toService = stack.use(await openFaultProxy(service.opsUrl));
  metrics = createMetrics({ service: 'app', version: '0' });
  const deps = { log: createInMemoryLog(), metrics };
  const redis = stack.use(
    await openRedis(
      {
        ...{ url: toRedis.url, prefix: stores.redisPrefix, name: 'app' },
        ...{ maxConnections: 5, connectTimeoutMs: 500, commandTimeoutMs: 300 },
      },
      deps,
    ),
  );
  verifier = stack.use(
    createSessionVerifier({
      ...{ ...deps, redis, clock: systemClock, sessionSecrets: SECRETS, cookieName: 'session_id' },
      // The first address is closed.
      service: { urls: ['http://127.0.0.1:1', toService.url], apiKey: INTERNAL_KEY },
    }),
  );
  const handler = express();
  handler.get('/', requireSession(verifier, { require: () => require }), (req, res) => {
    res.json({ user: sessionOf(req)?.userId });
  });
  const server = stack.use(await listen(handler, { host: '127.0.0.1', port: 0 }));
  app = `http://127.0.0.1:${server.port}`;
});
afterAll(() => stack.disposeAsync());

const sessions = () => createSessions({ baseUrl: service.url, apiKey: SERVICE_KEY });
const login = async (more: object = {}) => {
  const { id, token = '' } = await sessions().create({ user_id: 'ann', transport: 'bearer', ...more });
  return { id, token };
};
const get = async (headers: Record<string, string>) => {
  const answer = await fetch(app, { headers });
  return {
    status: answer.status,
    headers: answer.headers,
    body: (await answer.json()) as Record<string, unknown>,
  };
};
const bearer = (token: string) => ({ authorization: `Bearer ${token}` });
const checks = async (source: string): Promise<number> =>
  [...(await metrics.render()).matchAll(/session_verifier_checks_total\{[^}]*source="(\w+)"\} (\d+)/g)]
    .filter(([, from]) => from === source)
    .reduce((sum, [, , count]) => sum + Number(count), 0);
const hearsTheBus = () =>
  until(
    async () => {
      const { token } = await login();
      await get(bearer(token));
      return verifier.cached() > 0;
    },
    { what: 'the verifier to hear the bus', timeoutMs: 10_000 },
  );

test('[VF1] [VF3] given a live session, it is accepted, the second time from memory', async () => {
  await hearsTheBus();
  const { token } = await login();
  expect(await get(bearer(token))).toMatchObject({ status: 200, body: { user: 'ann' } });
  const asked = await checks('redis');
  expect(await get(bearer(token))).toMatchObject({ status: 200 });
  expect(await checks('redis')).toBe(asked);
  expect(await get({ cookie: `session_id=${encodeURIComponent(`s:${token}`)}` })).toMatchObject({
    status: 200,
  });
});

test('[VF12] given several cookies, the first live session is used', async () => {
  const cookie = (token: string) => `session_id=${encodeURIComponent(`s:${token}`)}`;
  const [ended, ann, ben] = [await login(), await login(), await login({ user_id: 'ben' })];
  await sessions().end(ended.id);
  const ask = (...tokens: string[]) => get({ cookie: tokens.map(cookie).join('; ') });
  expect(await ask(ended.token, ann.token)).toMatchObject({ status: 200, body: { user: 'ann' } });
  expect(await ask(`${ann.token}x`, ended.token, ann.token)).toMatchObject({ status: 200 });
  expect(await ask(ben.token, ann.token)).toMatchObject({ status: 200, body: { user: 'ben' } });
  expect(await ask('x', ended.token)).toMatchObject({
    status: 401,
    body: { type: '/problems/session-ended' },
  });
  expect(await ask('x', 'y')).toMatchObject({ status: 401, body: { type: '/problems/invalid-token' } });
});

test('[VF11] given a superseded secret, it costs at most one request in two seconds', async () => {
  const { id, token } = await login();
  const stepped = await service.service('POST', `/v1/sessions/${id}/step-up`, { aal: 2 });
  const before = await service.metric('db_client_operation_duration_seconds_count{operation="find_sessions"}');
  const begun = performance.now();
  for (let n = 0; n < 60; n += 1) expect((await get(bearer(token))).status).toBe(401);
  expect((await get(bearer(stepped.body.token))).status).toBe(200);
  const after = await service.metric('db_client_operation_duration_seconds_count{operation="find_sessions"}');
  expect(after - before).toBeLessThanOrEqual(2 + (performance.now() - begun) / 1_000);
});

test('[VF2] given each kind of refusal, it has its reason', async () => {
  const [one, two] = [await login(), await login()];
  await sessions().end(two.id);
  expect(await get({})).toMatchObject({ status: 401, body: { type: '/problems/no-session' } });
  const [redis, source] = [await checks('redis'), await checks('service')];
  expect(await get(bearer(`${one.token}x`))).toMatchObject({
    status: 401,
    body: { type: '/problems/invalid-token' },
  });
  expect([await checks('redis'), await checks('service')]).toEqual([redis, source]);
  expect(await get(bearer(two.token))).toMatchObject({
    status: 401,
    body: { type: '/problems/session-ended', end_reason: expect.any(String) },
  });
  const cookie = `session_id=${encodeURIComponent(`s:${two.token}`)}`;
  expect(await get({ ...bearer(one.token), cookie })).toMatchObject({ status: 400 });
});

test('[VF4] given a published end, it applies at once', async () => {
  await hearsTheBus();
  const { token } = await login();
  await get(bearer(token));
  await createMySessions({ baseUrl: service.url, token }).signOut();
  await until(async () => (await get(bearer(token))).status === 401, { what: 'the end', timeoutMs: 1_000 });
});

test('[VF7] given requirements for assurance, age and tenant, they are checked', async () => {
  const strong = await login({ auth: { aal: 2 } });
  const old = await login({ auth: { aal: 2, time: new Date(Date.now() - 3_600_000).toISOString() } });
  require = { aal: 2, maxAuthAgeS: 600 };
  expect((await get(bearer(strong.token))).status).toBe(200);
  expect(await get(bearer(old.token))).toMatchObject({
    status: 403,
    body: { type: '/problems/step-up-required', max_auth_age: 600 },
  });
  expect((await get(bearer((await login()).token))).status).toBe(403);
  require = { tenant: 'other' };
  expect(await get(bearer(strong.token))).toMatchObject({
    status: 401,
    body: { type: '/problems/invalid-token' },
  });
  require = {};
});

test('[VF9] given a cookie, a WebSocket upgrade requires an allowed origin', async () => {
  const { token } = await login();
  const cookie = `session_id=${encodeURIComponent(`s:${token}`)}`;
  const allowed = ['https://app.example.com'];
  const verdict = async (headers: Record<string, string>) => {
    const answer = await verifyUpgrade(verifier, { headers } as never, allowed);
    return answer.ok ? 'ok' : answer.why;
  };
  expect(await verdict({ cookie, origin: 'https://app.example.com' })).toBe('ok');
  expect(await verdict({ cookie, origin: 'https://app.example.com.evil.tld' })).toBe('origin');
  expect(await verdict({ cookie })).toBe('origin');
  expect(await verdict(bearer(token))).toBe('ok');
  expect(await verdict({ ...bearer(token), origin: 'https://evil.tld' })).toBe('origin');
});

test('[VF5] [VF6] given no Redis, the service is requested; without both the result is 503; no ended session is accepted', async () => {
  await hearsTheBus();
  const [stays, goes] = [await login(), await login()];
  await Promise.all([stays, goes].map(({ token }) => get(bearer(token))));
  await toRedis.refuse();
  await sessions().end(goes.id);
  const asked = await checks('service');
  await until(async () => (await get(bearer(goes.token))).status === 401, {
    what: 'the end without a bus',
    timeoutMs: 5_000,
  });
  expect((await get(bearer(stays.token))).status).toBe(200);
  expect(await checks('service')).toBeGreaterThan(asked);
  await toService.refuse();
  const refused = await get(bearer(stays.token));
  expect([refused.status, refused.headers.get('retry-after')]).toEqual([503, '2']);
  await toRedis.pass();
  await toService.pass();
  await until(async () => (await get(bearer(stays.token))).status === 200, {
    what: 'everything to heal',
    timeoutMs: 10_000,
  });
});

test('[VF10] given options of an application, the verifier opens; invalid options are named', async () => {
  const options: OpenVerifierOptions = {
    ...{ sessionSecrets: SECRETS, redisUrl: stores.redisUrl, redisPrefix: stores.redisPrefix },
    ...{ sessionServiceUrl: service.opsUrl, internalApiKey: INTERNAL_KEY, publicUrl: ORIGIN },
  };
  await using opened = await openSessionVerifier(options);
  expect(opened.cookieName).toBe('session_id');
  const { token } = await login();
  expect(await opened.verify(bearer(token))).toMatchObject({ ok: true, session: { userId: 'ann' } });

  const wrong = [
    [{ sessionSecrets: SECRETS.join(',') }, 'sessionSecrets'],
    [{ redisUrl: '' }, 'redisUrl'],
    [{ sessionServiceUrl: '127.0.0.1:9100' }, 'sessionServiceUrl'],
    [{ sessionServiceUrl: [] }, 'sessionServiceUrl'],
    [{ internalApiKey: undefined }, 'internalApiKey'],
    [{ publicUrl: 'app.example.com' }, 'publicUrl'],
  ] as const;
  for (const [change, name] of wrong) {
    const opening = openSessionVerifier({ ...options, ...change } as OpenVerifierOptions);
    await expect(opening, name).rejects.toThrow(new RegExp(`^${name}: expected`));
  }
});
