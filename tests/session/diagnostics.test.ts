import { createMetrics } from '@muster/kit/metrics';
import { migrate } from '@muster/session-service/postgres/migration-runner';
import { openPostgres } from '@muster/session-service/postgres/pool';
import { type FaultProxy, openFaultProxy } from '@muster/testkit/fault-proxy';
import { createInMemoryLog } from '@muster/testkit/in-memory-log';
import { useTestStores } from '@muster/testkit/stores';
import { until } from '@muster/testkit/wait';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { startService, type TestService } from './fixture.ts';

const stores = useTestStores({ migrate });
const stack = new AsyncDisposableStack();
let service: TestService;
let toRedis: FaultProxy;

beforeAll(async () => {
  toRedis = stack.use(await openFaultProxy(stores.redisUrl));
  service = stack.use(
    await startService({
      ...stores,
      redisUrl: toRedis.url,
      redisPrefix: stores.redisPrefix,
      databaseUrl: stores.databaseUrl,
    }),
  );
});
afterAll(() => stack.disposeAsync());

test('[DG1] given too many connections for Postgres, the service refuses to start with the calculation', async () => {
  const start = startService(
    { redisUrl: stores.redisUrl, redisPrefix: stores.redisPrefix, databaseUrl: stores.databaseUrl },
    { EXPECTED_REPLICAS: '900', PG_POOL_SIZE: '10' },
  );
  await expect(start).rejects.toThrow(
    /\(900 replicas \+ 1 during a rollout\) × \(10 pool \+ 5 overflow \+ 1 probe\).*max_connections/,
  );
});

test('[DG2] given idle transactions of other applications, they are found', async () => {
  const metrics = createMetrics({ service: 'other', version: '0' });
  const pool = {
    url: stores.databaseUrl,
    poolSize: 1,
    maxOverflow: 0,
    poolTimeoutMs: 1_000,
    preparedStatements: true,
  };
  await using other = openPostgres({ ...pool, applicationName: 'report-job' }, { log: createInMemoryLog(), metrics });
  const done = Promise.withResolvers<void>();
  const holding = Promise.withResolvers<void>();
  const work = other.transaction(async (tx) => {
    await tx.query('one', 'SELECT 1');
    holding.resolve();
    await done.promise;
  });
  await holding.promise;
  const { body } = await service.service('GET', '/v1/diagnostics/connections');
  expect(body.postgres.clients).toContainEqual({
    ...{ application: 'report-job', state: 'idle in transaction', count: 1 },
    oldest_s: expect.any(Number),
  });
  done.resolve();
  await work;
});

test('[DG3] given the scope ops, the report is returned also without Redis', async () => {
  const made = await service.service('POST', '/v1/api-keys', { name: 'reader', scopes: ['sessions:read'] });
  const { status } = await service.call('GET', '/v1/diagnostics/connections', {
    headers: { authorization: `Bearer ${made.body.key}` },
  });
  expect(status).toBe(403);
  expect((await service.service('GET', '/v1/diagnostics/connections')).body).toMatchObject({
    budget: { fits: true, sum: expect.stringContaining('1 replicas + 1 during a rollout') },
    redis: { connected: expect.any(Number), rejected: 0 },
    pool: { max: 10 },
  });
  await toRedis.refuse();
  const { body } = await service.service('GET', '/v1/diagnostics/connections');
  expect(body).toMatchObject({ redis: null, findings: [{ verdict: 'unknown' }] });
  await toRedis.pass();
});

test('[DG4] given undelivered changes, /health has their number and age', async () => {
  const health = async () => (await service.call('GET', '/health')).body.checks;
  // A connection that was lost before is seen at once, and so is its return.
  const whole = await until(health, { ok: ({ redis }) => redis.status === 'up', what: 'Redis to be back' });
  expect(whole).toMatchObject({
    database: { status: 'up', pool: { max: 10 } },
    redis: { status: 'up', connections: { open: expect.any(Number), max: 20 } },
    outbox: { status: 'up', waiting: 0, oldest_s: 0 },
  });
  const { body } = await service.service('POST', '/v1/sessions', { user_id: 'u_waiting' });
  await toRedis.refuse();
  expect((await service.service('DELETE', `/v1/sessions/${body.id}`)).status).toBe(202);
  await until(async () => (await health()).outbox, {
    ok: ({ status, waiting }) => status === 'down' && waiting === 1,
    what: 'the end to wait',
    timeoutMs: 10_000,
  });
  await toRedis.pass();
  await until(async () => (await health()).outbox.status, {
    ok: (status) => status === 'up',
    what: 'delivery',
    timeoutMs: 10_000,
  });
});

test('[DG5] given logins and keys, metrics have devices per user and key ages', async () => {
  const devices = async () => [
    await service.metric('session_devices_per_user_count'),
    await service.metric('session_devices_per_user_sum'),
  ];
  const [count = 0, sum = 0] = await devices();
  for (let n = 0; n < 3; n += 1) await service.service('POST', '/v1/sessions', { user_id: 'u_devices' });
  expect(await devices()).toEqual([count + 3, sum + 1 + 2 + 3]);
  const aged = async () => (await fetch(`${service.opsUrl}/metrics`)).text();
  await until(aged, {
    ok: (text) =>
      /session_signing_key_age_seconds\{key="active"\} [\d.]+\n/.test(text) && text.includes('{key="previous"}'),
    what: 'the ages of both keys',
  });
});
