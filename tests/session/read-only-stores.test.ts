import { migrate } from '@muster/session-service/postgres/migration-runner';
import { type DedicatedStore, openDedicatedRedis } from '@muster/testkit/dedicated-store';
import { useTestStores } from '@muster/testkit/stores';
import { withClient } from '@muster/testkit/template';
import { until } from '@muster/testkit/wait';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { startService, type TestService } from './fixture.ts';

const stores = useTestStores({ migrate });
let stack: AsyncDisposableStack;
let server: DedicatedStore;
let admin: Redis;
let service: TestService;

beforeAll(async () => {
  stack = new AsyncDisposableStack();
  server = stack.use(await openDedicatedRedis());
  admin = new Redis(server.url);
  stack.defer(() => admin.disconnect());
  service = stack.use(await startService({ databaseUrl: stores.databaseUrl, redisUrl: server.url, redisPrefix: 't:' }));
});
afterAll(() => stack.disposeAsync());

const login = () => service.service('POST', '/v1/sessions', { user_id: 'u_1' });
const check = (token: string) => service.bearer(token, 'GET', '/v1/session');
const healthOf = async () =>
  (await (await fetch(`${service.opsUrl}/health`)).json()) as {
    status: string;
    checks: Record<'database' | 'redis', { status: string }>;
  };
const healthy = () => until(healthOf, { ok: ({ status }) => status === 'healthy', what: 'health', timeoutMs: 10_000 });

const faults: [string, () => Promise<unknown>, () => Promise<unknown>][] = [
  ['is full', () => admin.config('SET', 'maxmemory', '1'), () => admin.config('SET', 'maxmemory', '0')],
  ['is a replica', () => admin.replicaof('127.0.0.1', 1), () => admin.replicaof('NO', 'ONE')],
];

test.each(faults)(
  '[SE51] given a Redis that %s, logins succeed and ends are delivered later',
  async (_what, spoil, mend) => {
    const [before, ending] = [(await login()).body, (await login()).body];
    await spoil();
    const during = await login();
    expect(during.status).toBe(201);
    expect((await check(during.body.token)).status).toBe(200);
    expect((await check(before.token)).status).toBe(200);
    const ended = await service.bearer(ending.token, 'DELETE', '/v1/session');
    expect(ended.status).toBe(202);
    expect(await admin.ping()).toBe('PONG');
    await until(healthOf, {
      ok: ({ checks }) => checks.redis.status === 'down',
      what: 'the truth about Redis',
    });
    await mend();
    await until(async () => (await admin.get(`t:s:{${ending.id}}`)) === '!2|logout', {
      what: 'the tombstone',
      timeoutMs: 10_000,
    });
    expect((await check(ending.token)).body.end_reason).toBe('logout');
    await healthy();
  },
);

test('[SE52] given a read-only Postgres, changes are 503 and checks continue', async () => {
  const { token, id } = (await login()).body;
  const name = new URL(stores.databaseUrl).pathname.slice(1);
  const setReadOnly = (value: string) =>
    withClient(stores.databaseUrl, async (client) => {
      await client.query('SET default_transaction_read_only = off');
      await client.query(`ALTER DATABASE ${name} SET default_transaction_read_only = ${value}`);
      await client.query(
        'SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1 AND pid <> pg_backend_pid()',
        [name],
      );
    });
  await setReadOnly('on');
  await until(async () => (await login()).status === 503, { what: 'a refusal' });
  expect((await check(token)).status).toBe(200);
  const ended = await service.service('DELETE', `/v1/sessions/${id}`);
  expect(ended.status).toBe(503);
  expect(ended.body.type).toBe('/problems/database-unavailable');
  expect((await service.bearer(token, 'GET', '/v1/me/sessions')).status).toBe(200);
  await setReadOnly('off');
  await until(async () => (await login()).status === 201, { what: 'logins again', timeoutMs: 10_000 });
  expect((await service.service('DELETE', `/v1/sessions/${id}`)).status).toBe(204);
  expect((await check(token)).status).toBe(401);
});
