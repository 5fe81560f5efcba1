import { randomUUID } from 'node:crypto';
import { migrate } from '@muster/session-service/postgres/migration-runner';
import { useTestStores } from '@muster/testkit/stores';
import { withClient } from '@muster/testkit/template';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type ApiReply, startService, type TestService } from './fixture.ts';

const stores = useTestStores({ migrate });
let stack: AsyncDisposableStack;
let service: TestService;

beforeAll(async () => {
  stack = new AsyncDisposableStack();
  service = stack.use(await startService(stores));
});
afterAll(() => stack.disposeAsync());

interface Entry {
  readonly type: string;
  readonly tenant_id: string;
  readonly user_id: string | null;
  readonly session_id: string | null;
  readonly actor: string;
  readonly ip: string;
  readonly detail: Record<string, unknown>;
}
/** Entries of one request in the log book. */
const entriesOf = (requestId: string): Promise<Entry[]> =>
  withClient(stores.databaseUrl, async (client) => {
    const text = `SELECT type, tenant_id, user_id, session_id, actor, ip::text, detail FROM session_events
      WHERE request_id = $1 ORDER BY id`;
    return (await client.query<Entry>(text, [requestId])).rows;
  });
type Login = { id: string; token: string };
const login = async (user: string, more: object = {}): Promise<Login> =>
  (await service.service('POST', '/v1/sessions', { user_id: user, ...more })).body;
const guest = async (): Promise<Login> =>
  (await service.call('POST', '/v1/guest-sessions', { json: { transport: 'bearer' } })).body;

/** A change and the entries that it has to leave; `undefined` where another file tests the route. */
interface Case {
  readonly types: readonly string[];
  run(id: Record<string, string>): Promise<ApiReply>;
}
const made = (name: string): string => `${name}_${randomUUID().slice(0, 8)}`;
const CASES: Record<string, Case | undefined> = {
  'post /v1/sessions': {
    types: ['session.created'],
    run: (id) => service.service('POST', '/v1/sessions', { user_id: 'a' }, id),
  },
  'post /v1/guest-sessions': {
    types: ['session.created'],
    run: (id) => service.call('POST', '/v1/guest-sessions', { json: {}, headers: id }),
  },
  'patch /v1/session': {
    types: ['session.updated'],
    run: async (id) => service.bearer((await login('a')).token, 'PATCH', '/v1/session', { label: 'l' }, id),
  },
  'post /v1/session/rotate': {
    types: ['session.rotated'],
    run: async (id) => service.bearer((await login('a')).token, 'POST', '/v1/session/rotate', undefined, id),
  },
  'delete /v1/session': {
    types: ['session.ended'],
    run: async (id) => service.bearer((await login('a')).token, 'DELETE', '/v1/session', undefined, id),
  },
  'patch /v1/me/sessions/{id}': {
    types: ['session.updated'],
    run: async (id) => {
      const { id: own, token } = await login('a');
      return service.bearer(token, 'PATCH', `/v1/me/sessions/${own}`, { label: 'l' }, id);
    },
  },
  'delete /v1/me/sessions/{id}': {
    types: ['session.ended'],
    run: async (id) => {
      const [{ token }, other] = [await login('a'), await login('a')];
      return service.bearer(token, 'DELETE', `/v1/me/sessions/${other.id}`, undefined, id);
    },
  },
  'delete /v1/me/sessions': {
    types: ['session.ended', 'session.ended'],
    run: async (id) => {
      const user = made('all');
      await login(user);
      const { token } = await login(user);
      return service.bearer(token, 'DELETE', '/v1/me/sessions?all=true', undefined, id);
    },
  },
  'patch /v1/sessions/{id}': {
    types: ['session.updated'],
    run: async (id) => {
      const { id: one } = await login('a');
      return service.service('PATCH', `/v1/sessions/${one}`, { label: 'l', grants: [] }, id);
    },
  },
  'delete /v1/sessions/{id}': {
    types: ['session.ended'],
    run: async (id) => service.service('DELETE', `/v1/sessions/${(await login('a')).id}`, undefined, id),
  },
  'post /v1/sessions/{id}/step-up': {
    types: ['session.stepped_up'],
    run: async (id) => {
      const { id: one } = await login('a');
      return service.service('POST', `/v1/sessions/${one}/step-up`, { aal: 2 }, id);
    },
  },
  'post /v1/sessions/{id}/upgrade': {
    types: ['session.upgraded'],
    run: async (id) => {
      const { id: one } = await guest();
      return service.service('POST', `/v1/sessions/${one}/upgrade`, { user_id: made('up') }, id);
    },
  },
  // Activity does not count as a change.
  'post /v1/sessions/{id}/extend': {
    types: [],
    run: async (id) => service.service('POST', `/v1/sessions/${(await login('a')).id}/extend`, undefined, id),
  },
  'post /v1/sessions/end': {
    types: ['session.ended', 'session.ended'],
    run: async (id) => {
      const ids = [(await login('a')).id, (await login('b')).id];
      return service.service('POST', '/v1/sessions/end', { ids }, id);
    },
  },
  'post /v1/sessions/check': {
    types: [],
    run: async (id) =>
      service.service('POST', '/v1/sessions/check', { tokens: [{ token: (await login('a')).token }] }, id),
  },
  'delete /v1/users/{uid}/sessions': {
    types: ['session.ended'],
    run: async (id) => {
      const user = made('end');
      await login(user);
      return service.service('DELETE', `/v1/users/${user}/sessions`, undefined, id);
    },
  },
  'put /v1/users/{uid}': {
    types: ['session.ended', 'user.disabled', 'user.limits_changed'],
    run: async (id) => {
      const user = made('off');
      await login(user);
      return service.service('PUT', `/v1/users/${user}`, { disabled: true, max_sessions: 3 }, id);
    },
  },
  // The entries of the person are emptied; the receipt stays.
  'delete /v1/users/{uid}': {
    types: ['user.erased'],
    run: async (id) => {
      const user = made('gone');
      await login(user);
      return service.service('DELETE', `/v1/users/${user}`, undefined, id);
    },
  },
  'post /v1/api-keys': {
    types: ['api_key.created'],
    run: (id) => service.service('POST', '/v1/api-keys', { name: 'n', scopes: ['ops'] }, id),
  },
  'delete /v1/api-keys/{id}': {
    types: ['api_key.revoked'],
    run: async (id) => {
      const { body } = await service.service('POST', '/v1/api-keys', { name: 'n', scopes: ['ops'] });
      return service.service('DELETE', `/v1/api-keys/${body.id}`, undefined, id);
    },
  },
  'post /v1/session/ws-ticket': {
    types: [],
    run: async (id) => service.bearer((await login('a')).token, 'POST', '/v1/session/ws-ticket', {}, id),
  },
  'post /v1/impersonations': {
    types: ['session.created'],
    run: (id) => {
      const body = { actor: 'staff', user_id: 'a', reason: 'ticket 7' };
      return service.service('POST', '/v1/impersonations', body, id);
    },
  },
  'post /v1/token-exchange': undefined,
  'post /v1/oidc/backchannel-logout': undefined,
};

describe('[EL1] given any change, the audit log has it once with the request id', () => {
  test('given every changing route, the table has it', async () => {
    const { body } = await service.call('GET', '/openapi.json');
    const changing = Object.entries(body.paths as Record<string, object>).flatMap(([path, methods]) =>
      Object.keys(methods)
        .filter((method) => method !== 'get')
        .map((method) => `${method} ${path}`),
    );
    expect(changing.toSorted()).toEqual(Object.keys(CASES).toSorted());
  });

  test.each(Object.entries(CASES).filter(([, one]) => one !== undefined))('%s', async (_, one) => {
    const requestId = `ev-${randomUUID()}`;
    const answer = (await one?.run({ 'x-request-id': requestId })) as ApiReply;
    expect(answer.status).toBeLessThan(300);
    expect(answer.headers.get('x-request-id')).toBe(requestId);
    const entries = await entriesOf(requestId);
    expect(entries.map(({ type }) => type).toSorted()).toEqual(one?.types);
    for (const entry of entries) expect(entry.actor).toMatch(/^(user|guest|key:0)$/);
  });
});

test('[EL2] given a change of grants, the event has before, after, the other members and the reason', async () => {
  const read = [{ groups: 'news', allow: ['subscribe'] }];
  const { id } = await login('g_1', { grants: read });
  const requestId = `ev-${randomUUID()}`;
  await service.service(
    'PATCH',
    `/v1/sessions/${id}`,
    { grants: [], label: 'x', reason: 'left the team' },
    { 'x-request-id': requestId },
  );
  expect(await entriesOf(requestId)).toMatchObject([
    {
      type: 'session.updated',
      session_id: id,
      user_id: 'g_1',
      actor: 'key:0',
      ip: '127.0.0.0/24',
      detail: {
        rev: 2,
        why: 'updated',
        reason: 'left the team',
        changed: ['label', 'grants'],
        grants: { before: read, after: [] },
      },
    },
  ]);
  const plain = `ev-${randomUUID()}`;
  const headers = { 'x-request-id': plain, 'if-match': '*' };
  await service.service('PATCH', `/v1/sessions/${id}`, { data: { secret: 'word' } }, headers);
  const [entry] = await entriesOf(plain);
  expect(entry?.detail).toEqual({ rev: 3, why: 'updated', changed: ['data'] });
});

test('[EL2] given concurrent changes of grants, each event has the value that it replaced', async () => {
  const { id } = await login('g_2');
  const grantsOf = (n: number) => [{ groups: `g${n}`, allow: ['subscribe'] }];
  await Promise.all(
    Array.from({ length: 8 }, (_, n) => service.service('PATCH', `/v1/sessions/${id}`, { grants: grantsOf(n) })),
  );
  const { rows } = await withClient(stores.databaseUrl, (client) =>
    client.query(
      `SELECT detail -> 'grants' -> 'before' AS before, detail -> 'grants' -> 'after' AS after FROM session_events
       WHERE session_id = $1 AND type = 'session.updated' ORDER BY (detail ->> 'rev')::int`,
      [id],
    ),
  );
  expect(rows).toHaveLength(8);
  expect(rows.map(({ before }) => before)).toEqual([[], ...rows.slice(0, -1).map(({ after }) => after)]);
});

test("[EL3] given changes of a user's rules, each is one event and a repeat is none", async () => {
  const put = async (body: object): Promise<Entry[]> => {
    const requestId = `ev-${randomUUID()}`;
    await service.service('PUT', '/v1/users/r_1', body, { 'x-request-id': requestId });
    return entriesOf(requestId);
  };
  const about = { user_id: 'r_1', session_id: null, actor: 'key:0', tenant_id: 'default' };
  expect(await put({ disabled: true, reason: 'stolen card' })).toMatchObject([
    { ...about, type: 'user.disabled', detail: { reason: 'stolen card' } },
  ]);
  expect(await put({ disabled: true })).toEqual([]);
  expect(await put({ disabled: false })).toMatchObject([{ ...about, type: 'user.enabled' }]);
  expect(await put({ max_sessions: 2, at_limit: 'reject' })).toMatchObject([
    {
      type: 'user.limits_changed',
      detail: {
        before: { max_sessions: null, at_limit: null },
        after: { max_sessions: 2, at_limit: 'reject' },
      },
    },
  ]);
  expect(await put({ max_sessions: 2 })).toEqual([]);
  expect(await put({})).toEqual([]);
});

test('[EL4] given API keys, their events have the author and never the key', async () => {
  const requestId = `ev-${randomUUID()}`;
  const headers = { 'x-request-id': requestId };
  const wanted = { name: 'shop', scopes: ['sessions:read'], tenant: 'shop', reason: 'new back end' };
  const { body } = await service.service('POST', '/v1/api-keys', wanted, headers);
  await service.service('DELETE', `/v1/api-keys/${body.id}?reason=leaked`, undefined, headers);
  const again = await service.service('DELETE', `/v1/api-keys/${body.id}`, undefined, headers);
  expect(again.status).toBe(404);
  const entries = await entriesOf(requestId);
  const key = { key_id: body.id, name: 'shop', scopes: ['sessions:read'] };
  expect(entries).toMatchObject([
    { type: 'api_key.created', tenant_id: 'shop', detail: { ...key, reason: 'new back end' } },
    { type: 'api_key.revoked', tenant_id: 'shop', detail: { ...key, reason: 'leaked' } },
  ]);
  expect(JSON.stringify(entries)).not.toContain(body.key);
  const wide = `ev-${randomUUID()}`;
  await service.service('POST', '/v1/api-keys', { name: 'all', scopes: ['ops'] }, { 'x-request-id': wide });
  expect(await entriesOf(wide)).toMatchObject([{ type: 'api_key.created', tenant_id: '*' }]);
});

test('[EL1] when the feed and the own audit log are read, they show the request id', async () => {
  const requestId = `ev-${randomUUID()}`;
  const { body } = await service.service('POST', '/v1/sessions', { user_id: 'e_1' }, { 'x-request-id': requestId });
  const own = await service.bearer(body.token, 'GET', '/v1/me/events');
  expect(own.body.items).toMatchObject([{ type: 'session.created', request_id: requestId, impersonator: null }]);
  const exported = await service.service('GET', '/v1/users/e_1/export');
  expect(exported.body.events).toMatchObject([{ request_id: requestId }]);
});
