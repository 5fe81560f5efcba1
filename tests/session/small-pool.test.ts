import { migrate } from '@muster/session-service/postgres/migration-runner';
import { useTestStores } from '@muster/testkit/stores';
import { until } from '@muster/testkit/wait';
import { Client } from 'pg';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { cookieOf, startService, type TestService } from './fixture.ts';

const stores = useTestStores({ migrate });
let stack: AsyncDisposableStack;
let narrow: TestService;

beforeAll(async () => {
  stack = new AsyncDisposableStack();
  narrow = stack.use(await startService(stores, { PG_POOL_SIZE: '1', PG_MAX_OVERFLOW: '0', SWEEP_INTERVAL_MS: '100' }));
});
afterAll(() => stack.disposeAsync());

/** A connection of another client, which holds its locks until it is released. */
const stranger = async (): Promise<Client> => {
  const client = new Client({ connectionString: stores.databaseUrl });
  await client.connect();
  await client.query('BEGIN');
  return client;
};
const poolOf = async (service: TestService) =>
  (
    (await (await fetch(`${service.opsUrl}/health`)).json()) as {
      checks: { database: { pool: Record<string, number> } };
    }
  ).checks.database.pool;

test('[SE48] given one connection, it serves every kind of request, also concurrently', async () => {
  const open = (user: string, more: object = {}, headers: Record<string, string> = {}) =>
    narrow.service('POST', '/v1/sessions', { user_id: user, ...more }, headers);
  const opened = await Promise.all(Array.from({ length: 20 }, (_, n) => open(`u_${n % 3}`)));
  expect(opened.every(({ status }) => status === 201)).toBe(true);
  const [first, second] = opened.map(({ body }) => body);
  const guest = await narrow.call('POST', '/v1/guest-sessions');
  await narrow.service('PUT', '/v1/users/u_0', { max_sessions: 2, at_limit: 'evict_oldest' });
  const answers = await Promise.all([
    open('u_0'),
    open('u_1', {}, { 'idempotency-key': 'narrow-1' }),
    narrow.bearer(second.token, 'GET', '/v1/me/sessions'),
    narrow.bearer(second.token, 'POST', '/v1/session/rotate'),
    narrow.service('PATCH', `/v1/sessions/${second.id}`, { data: { a: 1 } }, { 'if-match': '*' }),
    narrow.service('POST', `/v1/sessions/${guest.body.id}/upgrade`, { user_id: 'u_5' }),
    narrow.service('GET', '/v1/sessions?user_id=u_1'),
    narrow.service('GET', '/v1/users/u_2/export'),
    narrow.service('GET', '/v1/events'),
    narrow.service('DELETE', '/v1/users/u_2/sessions'),
    narrow.service('POST', '/v1/sessions/end', { ids: [first.id] }),
    narrow.service('DELETE', '/v1/users/u_4'),
    narrow.service('POST', '/v1/api-keys', { name: 'n', scopes: ['ops'] }),
    narrow.cookie(cookieOf(guest), 'GET', '/v1/session/csrf'),
    narrow.internal('POST', '/internal/sessions/check', { ids: [first.id, second.id] }),
  ]);
  expect(answers.filter(({ status }) => status >= 500).map(({ body }) => body)).toEqual([]);
  expect((await poolOf(narrow))['total']).toBeLessThanOrEqual(1);
});

test('[SE49] given a locked row, the response is 503 in time for this session only, and the pool is intact', async () => {
  const service = await startService(stores, { PG_POOL_SIZE: '3', PG_MAX_OVERFLOW: '0' });
  const open = async () => (await service.service('POST', '/v1/sessions', { user_id: 'held' })).body;
  const [held, free] = [await open(), await open()];
  const holder = await stranger();
  await holder.query('SELECT 1 FROM sessions WHERE id = $1 FOR UPDATE', [held.id]);
  const begun = performance.now();
  const ending = service.service('DELETE', `/v1/sessions/${held.id}`);
  expect((await service.bearer(held.token, 'GET', '/v1/session')).status).toBe(200);
  expect((await service.service('DELETE', `/v1/sessions/${free.id}`)).status).toBe(204);
  const refused = await ending;
  expect(refused.status).toBe(503);
  expect(Number(refused.headers.get('retry-after'))).toBeGreaterThan(0);
  expect(performance.now() - begun).toBeLessThan(5000);
  await holder.query('ROLLBACK');
  await holder.end();
  expect((await service.service('DELETE', `/v1/sessions/${held.id}`)).status).toBe(204);
  await until(async () => (await poolOf(service))['idle'] === (await poolOf(service))['total'], {
    what: 'a whole pool',
  });
  await service[Symbol.asyncDispose]();
});

test('[SE49] given no free connection, requests are 503 overloaded in time and checks continue', async () => {
  const service = await startService(stores, {
    PG_POOL_SIZE: '2',
    PG_MAX_OVERFLOW: '0',
    OUTBOX_POLL_MS: '5000',
  });
  const open = async (user: string) => (await service.service('POST', '/v1/sessions', { user_id: user })).body;
  const sessions = [await open('p_1'), await open('p_2'), await open('p_3')];
  const holder = await stranger();
  await holder.query(`SELECT 1 FROM sessions WHERE user_id LIKE 'p_%' FOR UPDATE`);
  const begun = performance.now();
  const ends = sessions.map(({ id }) => service.service('DELETE', `/v1/sessions/${id}`));
  await new Promise((resolve) => setTimeout(resolve, 100));
  expect((await service.bearer(sessions[0].token, 'GET', '/v1/session')).status).toBe(200);
  const answers = await Promise.all(ends);
  expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([503]));
  expect(performance.now() - begun).toBeLessThan(6000);
  const health = await fetch(`${service.opsUrl}/health`);
  expect(health.status).toBe(200);
  await holder.query('ROLLBACK');
  await holder.end();
  expect((await service.service('DELETE', `/v1/sessions/${sessions[0].id}`)).status).toBe(204);
  await service[Symbol.asyncDispose]();
});
