import { migrate } from '@muster/session-service/postgres/migration-runner';
import { useTestStores } from '@muster/testkit/stores';
import { withClient } from '@muster/testkit/template';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { startService, type TestService } from './fixture.ts';

const stores = useTestStores({ migrate });
let service: TestService;

beforeAll(async () => {
  service = await startService(stores);
});
afterAll(() => service[Symbol.asyncDispose]());

const sql = (text: string, values: unknown[] = []) =>
  withClient(stores.databaseUrl, async (client) => (await client.query(text, values)).rows);
const makeKey = async (more: object = {}) =>
  (await service.service('POST', '/v1/api-keys', { name: 'test', scopes: ['sessions:create'], ...more })).body as {
    id: string;
    key: string;
  };
const withKey = (key: string, method: string, path: string, json?: unknown, headers: Record<string, string> = {}) =>
  service.bearer(key, method, path, json, headers);

describe('API keys', () => {
  test('[SE35] given a key, it may do what its scopes allow until it is revoked', async () => {
    const { id, key } = await makeKey();
    expect(key).toMatch(/^sk_[\w-]{43}$/);
    const opened = await withKey(key, 'POST', '/v1/sessions', { user_id: 'u_1' });
    expect(opened.status).toBe(201);
    const refused = await withKey(key, 'GET', `/v1/sessions/${opened.body.id}`);
    expect(refused.status).toBe(403);
    expect(refused.body.type).toBe('/problems/insufficient-scope');
    const listed = await service.service('GET', '/v1/api-keys');
    expect(listed.body.items).toContainEqual(expect.objectContaining({ id, name: 'test', revoked_at: null }));
    expect(JSON.stringify(listed.body)).not.toContain(key);
    const dump = JSON.stringify(await sql('SELECT * FROM api_keys'));
    expect(dump).not.toContain(key);
    expect((await service.service('DELETE', `/v1/api-keys/${id}`)).status).toBe(204);
    expect((await service.service('DELETE', `/v1/api-keys/${id}`)).status).toBe(404);
    expect((await withKey(key, 'POST', '/v1/sessions', { user_id: 'u_1' })).status).toBe(401);
  });

  test('[SE35] given a key of a tenant, sessions of another are 404', async () => {
    const scopes = ['sessions:create', 'sessions:read', 'sessions:write', 'sessions:end', 'keys:admin'];
    const a = await makeKey({ scopes, tenant: 'a' });
    const b = await makeKey({ scopes, tenant: 'b' });
    const { body } = await withKey(a.key, 'POST', '/v1/sessions', { user_id: 'u_1' });
    expect(body.tenant).toBe('a');
    expect((await withKey(a.key, 'POST', '/v1/sessions', { user_id: 'u_1', tenant: 'b' })).status).toBe(403);
    for (const [method, path, json] of [
      ['GET', `/v1/sessions/${body.id}`, undefined],
      ['DELETE', `/v1/sessions/${body.id}`, undefined],
      ['PATCH', `/v1/sessions/${body.id}`, { label: 'x' }],
      ['POST', `/v1/sessions/${body.id}/extend`, undefined],
      ['POST', `/v1/sessions/${body.id}/step-up`, { aal: 2 }],
    ] as const) {
      expect((await withKey(b.key, method, path, json)).status).toBe(404);
    }
    expect((await withKey(a.key, 'GET', `/v1/sessions/${body.id}`)).status).toBe(200);
    const keys = await withKey(b.key, 'GET', '/v1/api-keys');
    expect(keys.body.items.map((one: { tenant: string }) => one.tenant)).toEqual(['b']);
    expect((await withKey(b.key, 'DELETE', `/v1/api-keys/${a.id}`)).status).toBe(404);
    const wide = { name: 'x', scopes: ['privacy'], tenant: 'b' };
    expect((await withKey(b.key, 'POST', '/v1/api-keys', wide)).status).toBe(403);
    expect((await withKey(b.key, 'POST', '/v1/api-keys', { name: 'x', scopes: ['keys:admin'] })).status).toBe(403);
  });
});

describe('API keys with groups', () => {
  const scopes = ['sessions:create', 'sessions:read', 'sessions:write', 'keys:admin'];
  const grants = (...groups: string[]) => groups.map((one) => ({ groups: one, allow: ['subscribe'] }));
  const WIDE = ['*', 'order*', 'orders', 'news*', 'news:1', '$board', 'user:#ceo'];
  const FITTING = ['orders:*', 'orders:1', 'orders:eu:*', 'news'];

  test('[SE86] given a key with groups, it cannot grant others when it opens or changes sessions', async () => {
    const { key } = await makeKey({ scopes, tenant: 'shop', groups: ['orders:*', 'news'] });
    const open = (more: object) => withKey(key, 'POST', '/v1/sessions', { user_id: 'u_1', ...more });
    const { status, body } = await open({ grants: grants(...FITTING) });
    expect([status, body.grants.length]).toEqual([201, FITTING.length]);
    expect((await open({})).status).toBe(201);
    for (const one of WIDE) {
      for (const answer of [
        await open({ grants: grants('news', one) }),
        await withKey(key, 'PATCH', `/v1/sessions/${body.id}`, { grants: grants(one) }),
      ])
        expect([one, answer.status, answer.body.type]).toEqual([one, 403, '/problems/insufficient-scope']);
    }
    const patched = await withKey(key, 'PATCH', `/v1/sessions/${body.id}`, { grants: grants('orders:2') });
    expect(patched.body.grants).toEqual(grants('orders:2'));
  });

  test('[SE86] given a session with other grants, the key cannot obtain its token', async () => {
    const { key } = await makeKey({ scopes, groups: ['orders:*'] });
    for (const [path, json] of [
      ['step-up', { aal: 2 }],
      ['upgrade', { user_id: 'u_2' }],
    ] as const) {
      const user = path === 'step-up' ? { user_id: 'u_1' } : {};
      const openedWith = async (group: string) =>
        (await service.service('POST', '/v1/sessions', { ...user, grants: grants(group) })).body.id;
      expect((await withKey(key, 'POST', `/v1/sessions/${await openedWith('*')}/${path}`, json)).status).toBe(403);
      const fits = await openedWith('orders:1');
      expect((await withKey(key, 'POST', `/v1/sessions/${fits}/${path}`, json)).status).toBe(200);
    }
  });

  test('[SE86] given a key with groups, it creates keys within them, shown in lists and the audit log', async () => {
    const { key } = await makeKey({ scopes, groups: ['orders:*'] });
    const make = (more: object) =>
      withKey(key, 'POST', '/v1/api-keys', { name: 'child', scopes: ['sessions:create'], ...more });
    for (const more of [{}, { groups: ['*'] }, { groups: ['orders:1', 'news'] }])
      expect((await make(more)).status).toBe(403);
    expect((await make({ groups: [] })).status).toBe(422);
    const { status, body } = await make({ groups: ['orders:eu:*'] });
    expect([status, body.groups]).toEqual([201, ['orders:eu:*']]);
    const child = await withKey(body.key, 'POST', '/v1/sessions', { grants: grants('orders:us:1') });
    expect(child.status).toBe(403);
    const { items } = (await service.service('GET', '/v1/api-keys')).body;
    expect(items.find(({ id }: { id: string }) => id === body.id).groups).toEqual(['orders:eu:*']);
    const [entry] = await sql(`SELECT detail FROM session_events WHERE detail->>'key_id' = $1`, [body.id]);
    expect(entry.detail.groups).toEqual(['orders:eu:*']);
  });
});

describe('idempotency', () => {
  const create = (key: string, json: object, headers: Record<string, string> = {}) =>
    service.service('POST', '/v1/sessions', json, { 'idempotency-key': key, ...headers });

  test('[SE36] given an idempotency key, concurrent repeats return the same session and token', async () => {
    const body = { user_id: 'u_idem', data: { a: 1 } };
    const answers = await Promise.all(Array.from({ length: 10 }, () => create('k-1', body)));
    expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([201]));
    expect(new Set(answers.map((answer) => answer.body.id)).size).toBe(1);
    expect(new Set(answers.map((answer) => answer.body.token)).size).toBe(1);
    expect(answers.filter(({ headers }) => headers.get('idempotent-replayed') === 'true')).toHaveLength(9);
    expect((await service.bearer(answers[0]!.body.token, 'GET', '/v1/session')).status).toBe(200);
    expect(await sql(`SELECT 1 FROM sessions WHERE user_id = 'u_idem'`)).toHaveLength(1);
    const dump = JSON.stringify(await sql('SELECT * FROM idempotency_keys'));
    expect(dump).not.toContain(answers[0]!.body.token.split('.')[1]);
  });

  test('[SE36] given guests, which have no lock, there is one session per key', async () => {
    const answers = await Promise.all(Array.from({ length: 10 }, () => create('k-guest', { label: 'g' })));
    expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([201]));
    expect(new Set(answers.map((answer) => answer.body.id)).size).toBe(1);
    expect(await sql(`SELECT 1 FROM sessions WHERE label = 'g'`)).toHaveLength(1);
  });

  test('[SE89] given a long idempotency key, a guest session is opened once', async () => {
    const guest = (key: string, json: object) =>
      service.call('POST', '/v1/guest-sessions', { json, headers: { 'idempotency-key': key } });
    const key = 'guest-0123456789-abcdef';
    const answers = await Promise.all(
      Array.from({ length: 5 }, () => guest(key, { transport: 'bearer', label: 'one guest' })),
    );
    expect(answers.map(({ status }) => status)).toEqual(Array(5).fill(201));
    expect(new Set(answers.map(({ body }) => body.token)).size).toBe(1);
    expect(await sql(`SELECT 1 FROM sessions WHERE label = 'one guest'`)).toHaveLength(1);
    expect((await guest(key, { transport: 'bearer' })).status).toBe(422);
    const short = await guest('x'.repeat(21), { transport: 'bearer' });
    expect(short.body.detail[0]).toMatchObject({ loc: ['header', 'idempotency-key'] });
  });

  test('[SE36] [SE88] given an idempotency key, an API key is created once, returned to repeats, and not restored', async () => {
    const make = (json: object, key = 'k-api') =>
      service.service('POST', '/v1/api-keys', json, { 'idempotency-key': key });
    const body = { name: 'single use', scopes: ['sessions:search', 'sessions:create'] };
    const answers = await Promise.all(Array.from({ length: 5 }, () => make(body)));
    expect(answers.map(({ status }) => status)).toEqual(Array(5).fill(201));
    expect(new Set(answers.map((answer) => `${answer.body.id} ${answer.body.key}`)).size).toBe(1);
    expect(answers.filter(({ headers }) => headers.get('idempotent-replayed') === 'true')).toHaveLength(4);
    expect(await sql(`SELECT 1 FROM api_keys WHERE name = 'single use'`)).toHaveLength(1);
    const { id, key } = answers[0]!.body;
    const headers = { authorization: `Bearer ${key}` };
    expect((await service.call('GET', '/v1/sessions', { headers })).status).toBe(200);
    expect((await make({ ...body, name: 'other' })).status).toBe(422);
    expect((await make(body, 'k-api-2')).body.id).not.toBe(id);
    await service.service('DELETE', `/v1/api-keys/${id}`);
    expect((await make(body)).status).toBe(409);
  });

  test('[SE88] given another body, the response is 422; after a rotation or the end 409', async () => {
    const first = await create('k-2', { user_id: 'u_2' });
    const other = await create('k-2', { user_id: 'u_3' });
    expect(other.status).toBe(422);
    expect(other.body.detail[0]).toMatchObject({
      loc: ['header', 'idempotency-key'],
      type: 'idempotency_key_reused',
    });
    await service.bearer(first.body.token, 'POST', '/v1/session/rotate');
    expect((await create('k-2', { user_id: 'u_2' })).body.type).toBe('/problems/session-rotated');
    const ended = await create('k-3', { user_id: 'u_2' });
    await service.service('DELETE', `/v1/sessions/${ended.body.id}`);
    expect((await create('k-3', { user_id: 'u_2' })).status).toBe(409);
    expect((await create('with space', { user_id: 'u_2' })).status).toBe(422);
  });

  test('[SE36] given an idempotency key, concurrent upgrades happen once and return the same token', async () => {
    const guest = (await service.service('POST', '/v1/sessions', {})).body;
    const upgrade = (key: string, json: object) =>
      service.service('POST', `/v1/sessions/${guest.id}/upgrade`, json, { 'idempotency-key': key });
    const answers = await Promise.all(Array.from({ length: 5 }, () => upgrade('k-up', { user_id: 'u_up' })));
    expect(answers.map(({ status }) => status)).toEqual(Array.from({ length: 5 }, () => 200));
    expect(new Set(answers.map(({ body }) => body.token)).size).toBe(1);
    expect(answers.filter(({ headers }) => headers.get('idempotent-replayed') === 'true')).toHaveLength(4);
    expect((await service.bearer(answers[0]!.body.token, 'GET', '/v1/session')).body.user_id).toBe('u_up');
    expect((await upgrade('k-up', { user_id: 'u_other' })).status).toBe(422);
    expect((await upgrade('k-other', { user_id: 'u_up' })).status).toBe(409);
    await service.service('DELETE', `/v1/sessions/${guest.id}`);
    expect((await upgrade('k-up', { user_id: 'u_up' })).body.type).toBe('/problems/session-rotated');
  });

  test('[SE36] [SE89] given several callers, keys are independent; a refused login claims no key, and after a day it is unused', async () => {
    const { key } = await makeKey();
    const mine = await create('k-4', { user_id: 'u_4' });
    const theirs = await withKey(key, 'POST', '/v1/sessions', { user_id: 'u_4' }, { 'idempotency-key': 'k-4' });
    expect(theirs.body.id).not.toBe(mine.body.id);
    await sql(`INSERT INTO subjects (tenant_id, user_id, disabled_at) VALUES ('default', 'u_5', now())`);
    expect((await create('k-5', { user_id: 'u_5' })).status).toBe(409);
    await sql(`UPDATE subjects SET disabled_at = NULL WHERE user_id = 'u_5'`);
    expect((await create('k-5', { user_id: 'u_5' })).status).toBe(201);
    await sql(`UPDATE idempotency_keys SET created_at = now() - interval '25 hours' WHERE key = 'k-4'`);
    const later = await create('k-4', { user_id: 'u_4' });
    expect(later.status).toBe(201);
    expect(later.body.id).not.toBe(mine.body.id);
  });
});
