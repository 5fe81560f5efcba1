import { randomBytes } from 'node:crypto';
import { migrate } from '@muster/session-service/postgres/migration-runner';
import { type FaultProxy, openFaultProxy } from '@muster/testkit/fault-proxy';
import { useTestStores } from '@muster/testkit/stores';
import { until } from '@muster/testkit/wait';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { cookieOf, INTERNAL_KEY, SECRETS, SERVICE_KEY, startService, type TestService } from './fixture.ts';

const stores = useTestStores({ migrate });
let stack: AsyncDisposableStack;
let redis: FaultProxy;
let postgres: FaultProxy;
let service: TestService;

beforeAll(async () => {
  stack = new AsyncDisposableStack();
  redis = stack.use(await openFaultProxy(stores.redisUrl));
  postgres = stack.use(await openFaultProxy(stores.databaseUrl));
  service = stack.use(
    await startService({ databaseUrl: postgres.url, redisUrl: redis.url, redisPrefix: stores.redisPrefix }),
  );
});
afterEach(async () => {
  await Promise.all([redis.pass(), postgres.pass()]);
});
afterAll(() => stack.disposeAsync());

interface Health {
  readonly status: string;
  readonly checks: Record<'database' | 'redis', { status: string }>;
}
const probe = async (path: string, base = service.opsUrl) => {
  const begun = performance.now();
  const response = await fetch(base + path);
  const body = (await response.json()) as Health;
  const ms = performance.now() - begun;
  return { status: response.status, body, ms };
};
const untilChecks = (database: string, cache: string) =>
  until(() => probe('/health'), {
    ok: ({ body: { checks } }) => checks.database.status === database && checks.redis.status === cache,
    what: `database ${database}, redis ${cache}`,
    timeoutMs: 10_000,
  });

test('[HL6] [HL7] given a store that hangs or refuses, health names it and no probe waits', async () => {
  await untilChecks('up', 'up');
  for (const [database, cache] of [
    ['down', 'up'],
    ['up', 'down'],
    ['down', 'down'],
  ] as const) {
    const fault = database === 'down' && cache === 'down' ? 'refuse' : 'blackhole';
    await (database === 'down' ? postgres[fault]() : postgres.pass());
    await (cache === 'down' ? redis[fault]() : redis.pass());
    const { body, status } = await untilChecks(database, cache);
    expect({ status, is: body.status }).toEqual({ status: 200, is: 'degraded' });
    const answers = await Promise.all([
      ...['/livez', '/readyz', '/health'].map((path) => probe(path)),
      ...['/readyz', '/health'].map((path) => probe(path, service.url)),
    ]);
    // A fault that every replica shares must take none of them out of service.
    expect(new Set(answers.map((one) => one.status))).toEqual(new Set([200]));
    for (const { ms } of answers) expect(ms).toBeLessThan(1000);
  }
  await Promise.all([postgres.pass(), redis.pass()]);
  expect((await untilChecks('up', 'up')).body.status).toBe('healthy');
});

test('[SE11] given the public port, the internal API is not on it', async () => {
  for (const path of ['/metrics', '/internal/sessions/check', '/internal/ended', '/startupz/x', '/debug']) {
    for (const headers of [{}, { authorization: `Bearer ${INTERNAL_KEY}` }] as Record<string, string>[]) {
      expect((await service.call('GET', path, { headers })).status).toBe(404);
    }
  }
  expect((await service.call('GET', '/v1/diagnostics/connections')).status).toBe(401);
  expect((await fetch(`${service.opsUrl}/metrics`)).status).toBe(200);
  expect((await fetch(`${service.opsUrl}/v1/session`)).status).toBe(404);
});

test('[SE7] given any request, logs and metrics show no secret, token, cookie, address or text of the caller', async () => {
  await untilChecks('up', 'up');
  const marker = `marker-${randomBytes(6).toString('hex')}`;
  const address = '203.0.113.77';
  const opened = await service.service('POST', '/v1/sessions', {
    user_id: `user-${marker}`,
    transport: 'cookie',
    label: marker,
    user_agent: marker,
    ip: address,
    data: { [marker]: marker },
  });
  const cookie = cookieOf(opened);
  const forwarded = { 'x-forwarded-for': address };
  await service.cookie(cookie, 'GET', '/v1/session', undefined, forwarded);
  await service.cookie(`${cookie.slice(0, -3)}abc`, 'GET', '/v1/session', undefined, forwarded);
  await service.bearer(marker, 'GET', '/v1/session', undefined, forwarded);
  await service.call('POST', '/v1/sessions', { json: {}, headers: { authorization: `Bearer sk_${marker}` } });
  await service.call('GET', `/${marker}?token=${marker}`, { headers: { 'x-request-id': marker } });
  await service.call(marker.slice(0, 6).toUpperCase(), `/v1/${marker}`).catch(() => undefined);
  await service.service('POST', '/v1/sessions', { user_id: 7, [marker]: marker });
  await service.cookie(cookie, 'POST', '/v1/session/rotate', undefined, forwarded);
  await redis.refuse();
  await service.cookie(cookie, 'GET', '/v1/session', undefined, forwarded);
  await service.service('DELETE', `/v1/sessions/${opened.body.id}`, undefined, forwarded);
  await redis.pass();
  const metrics = await (await fetch(`${service.opsUrl}/metrics`)).text();
  expect(service.log.lines.length).toBeGreaterThan(0);
  const logs = JSON.stringify(service.log.lines, (_key, value: unknown) =>
    value instanceof Error ? { ...value, message: value.message, stack: value.stack } : value,
  );
  const token = decodeURIComponent(cookie.split('=')[1] ?? '').slice(2);
  const password = new URL(stores.databaseUrl).password;
  for (const text of [logs, metrics]) {
    for (const secret of [
      token,
      token.split('.')[1]!,
      ...SECRETS,
      SERVICE_KEY,
      INTERNAL_KEY,
      address,
      ...(password.length > 3 ? [password] : []),
    ]) {
      expect(text).not.toContain(secret);
    }
  }
  expect(metrics).not.toContain(marker);
  expect(logs.replaceAll(/"requestId":"[^"]*"/g, '').replaceAll(/"path":"[^"]*"/g, '')).not.toContain(marker);
});

test('[SE14] given unknown paths and methods, they create no metric series', async () => {
  const series = async () =>
    (await (await fetch(`${service.opsUrl}/metrics`)).text())
      .split('\n')
      .filter((line) => line.startsWith('http_server_')).length;
  const visit = (n: number) =>
    Promise.all([
      service.call('GET', `/v1/${n}/${'x'.repeat(n)}`),
      service.call('GET', `/v1/sessions/${n}`),
      service.call('GET', `/v1/users/u_${n}/export`),
      service.call(`METHOD${n}`, '/v1/session').catch(() => undefined),
      service.bearer(`t${n}`, 'GET', '/v1/session'),
    ]);
  await visit(0);
  const before = await series();
  for (let n = 1; n < 40; n += 1) await visit(n);
  expect(await series()).toBe(before);
});
