import { migrate } from '@muster/session-service/postgres/migration-runner';
import { useTestStores } from '@muster/testkit/stores';
import { withClient } from '@muster/testkit/template';
import { until } from '@muster/testkit/wait';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { openSocket, startGateway } from '../gateway/fixture.ts';
import { type ApiReply, startService, type TestService } from './fixture.ts';

const stores = useTestStores({ migrate });
let stack: AsyncDisposableStack;
let service: TestService;

beforeAll(async () => {
  stack = new AsyncDisposableStack();
  service = stack.use(await startService(stores, { SWEEP_INTERVAL_MS: '100' }));
});
afterAll(() => stack.disposeAsync());

type Login = { id: string; token: string };
const login = async (user: string): Promise<Login> =>
  (await service.service('POST', '/v1/sessions', { user_id: user })).body;
const impersonate = (user: string, more: object = {}): Promise<ApiReply> =>
  service.service('POST', '/v1/impersonations', {
    actor: 'kim',
    user_id: user,
    reason: 'ticket 7',
    ...more,
  });

test('[AC1] [AC2] given an impersonation, it is a short session of the user that shows the actor', async () => {
  const { status, body } = await impersonate('i_1', { ttl: 120 });
  expect(status).toBe(201);
  const actor = { id: 'kim', reason: 'ticket 7' };
  expect(body).toMatchObject({ user_id: 'i_1', kind: 'user', actor, auth: { amr: ['impersonation'] } });
  expect(Date.parse(body.expires_at) - Date.parse(body.created_at)).toBe(120_000);
  expect((await service.bearer(body.token, 'GET', '/v1/session')).body).toMatchObject({ actor });
  const { token } = await login('i_1');
  const listed = (await service.bearer(token, 'GET', '/v1/me/sessions')).body.items;
  expect(listed.find(({ id }: Login) => id === body.id)).toMatchObject({ actor });
  const tokens = { tokens: [{ token: body.token }] };
  expect((await service.service('POST', '/v1/sessions/check', tokens)).body.items[0].session).toMatchObject({
    actor,
  });
  const events = (await service.bearer(token, 'GET', '/v1/me/events')).body.items;
  expect(events.find((one: { session_id: string }) => one.session_id === body.id)).toMatchObject({
    type: 'session.created',
    actor: 'key:0',
    impersonator: 'kim',
    detail: { reason: 'ticket 7' },
  });
});

test('[AC1] given no scope, no reason or the same user, an impersonation is refused', async () => {
  const made = { name: 'n', scopes: ['sessions:create', 'sessions:write'] };
  const { key } = (await service.service('POST', '/v1/api-keys', made)).body;
  const body = { actor: 'kim', user_id: 'i_2', reason: 'r' };
  expect((await service.bearer(key, 'POST', '/v1/impersonations', body)).status).toBe(403);
  const withActor = { user_id: 'i_2', actor: { id: 'kim' } };
  expect((await service.bearer(key, 'POST', '/v1/sessions', withActor)).status).toBe(403);
  const byPolicy = { user_id: 'i_2', policy: 'impersonation' };
  expect((await service.bearer(key, 'POST', '/v1/sessions', byPolicy)).status).toBe(403);
  for (const [wrong, member] of [
    [byPolicy, 'actor'],
    [{ ...withActor, actor: { id: 'i_2' } }, 'actor'],
    [{ policy: 'impersonation', actor: { id: 'kim' } }, 'user_id'],
  ] as const) {
    const refused = await service.service('POST', '/v1/sessions', wrong);
    expect([refused.status, refused.body.detail[0].loc]).toEqual([422, ['body', member]]);
  }
  const long = await service.service('POST', '/v1/sessions', { ...withActor, policy: 'standard' });
  const life = Date.parse(long.body.expires_at) - Date.parse(long.body.created_at);
  expect(life).toBeLessThanOrEqual(3_600_000);
  for (const wrong of [
    { reason: undefined },
    { reason: ' \t ' },
    { ttl: 3_601 },
    { ttl: 0 },
    { actor: 'i_2' },
    { actor_session: (await login('other')).id },
  ]) {
    expect((await impersonate('i_2', wrong)).status).toBe(422);
  }
  await service.service('PUT', '/v1/users/i_off', { disabled: true });
  expect((await impersonate('i_off')).status).toBe(409);
});

test('[AC1] given an impersonated session, it cannot impersonate', async () => {
  const { body } = await impersonate('i_3');
  const nested = await impersonate('i_4', { actor: 'i_3', actor_session: body.id });
  expect(nested.status).toBe(422);
});

test('[AC3] given an impersonation, it cannot change the account and can sign out', async () => {
  const own = await login('i_5');
  const { id, token } = (await impersonate('i_5')).body as Login;
  const refused = [
    service.bearer(token, 'PATCH', '/v1/session', { label: 'x' }),
    service.bearer(token, 'POST', '/v1/session/rotate'),
    service.bearer(token, 'PATCH', `/v1/me/sessions/${own.id}`, { label: 'x' }),
    service.bearer(token, 'DELETE', `/v1/me/sessions/${own.id}`),
    service.bearer(token, 'DELETE', '/v1/me/sessions?all=true'),
    service.bearer(token, 'DELETE', '/v1/me/sessions?except=current'),
  ];
  expect((await Promise.all(refused)).map(({ status }) => status)).toEqual(Array(6).fill(403));
  expect((await service.service('POST', `/v1/sessions/${id}/step-up`, { aal: 2 })).status).toBe(409);
  expect((await service.service('POST', `/v1/sessions/${id}/extend`)).status).toBe(409);
  expect((await service.bearer(own.token, 'GET', '/v1/session')).body).toMatchObject({ label: null, rev: 1 });
  expect((await service.bearer(token, 'GET', '/v1/me/sessions')).status).toBe(200);
  expect((await service.bearer(token, 'DELETE', '/v1/session')).status).toBe(204);
  expect((await service.bearer(token, 'GET', '/v1/session')).status).toBe(401);
});

test('[AC3] given a user at the limit, an impersonation does not count towards it', async () => {
  await service.service('PUT', '/v1/users/i_6', { max_sessions: 2, at_limit: 'evict_oldest' });
  const devices = [await login('i_6'), await login('i_6')];
  const { token } = (await impersonate('i_6')).body as Login;
  for (const one of [...devices, { token }]) {
    expect((await service.bearer(one.token, 'GET', '/v1/session')).status).toBe(200);
  }
  await login('i_6');
  const alive = await Promise.all(
    [...devices, { token }].map(async (one) => (await service.bearer(one.token, 'GET', '/v1/session')).status),
  );
  expect(alive).toEqual([401, 200, 200]);
});

test('[AC4] when the session of the actor ends, the impersonation ends and its socket closes', async () => {
  await using gateway = await startGateway(stores, service.opsUrl);
  const staff = await login('kim');
  const { id, token } = (await impersonate('i_7', { actor_session: staff.id })).body as Login;
  const client = await openSocket(`${gateway.wsUrl}/connection/websocket`);
  client.send({ id: 1, connect: { token } });
  await client.reply(1);
  await service.bearer(staff.token, 'DELETE', '/v1/session');
  await client.closed;
  expect((await service.bearer(token, 'GET', '/v1/session')).status).toBe(401);
  expect((await service.service('GET', `/v1/sessions/${id}`)).body.end_reason).toBe('actor_ended');
  const late = await impersonate('i_7', { actor_session: staff.id });
  expect(late.status).toBe(409);
});

test('[AC4] when the actor is disabled, the impersonation ends, and each of its events names the actor', async () => {
  const staff = (await service.service('POST', '/v1/sessions', { user_id: 'kim2' })).body as Login;
  const { id } = (await impersonate('i_8', { actor: 'kim2', actor_session: staff.id })).body as Login;
  await service.service('PUT', '/v1/users/kim2', { disabled: true });
  await until(async () => (await service.service('GET', `/v1/sessions/${id}`)).body.ended_at !== null, {
    what: 'the end of the impersonation',
  });
  const { rows } = await withClient(stores.databaseUrl, (sql) =>
    sql.query('SELECT type, impersonator FROM session_events WHERE session_id = $1 ORDER BY id', [id]),
  );
  expect(rows).toEqual([
    { type: 'session.created', impersonator: 'kim2' },
    { type: 'session.ended', impersonator: 'kim2' },
  ]);
});
