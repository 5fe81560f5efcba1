import { migrate } from '@muster/session-service/postgres/migration-runner';
import { useTestStores } from '@muster/testkit/stores';
import { withClient } from '@muster/testkit/template';
import fc from 'fast-check';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type ApiReply, cookieOf, ORIGIN, SERVICE_KEY, startService, type TestService } from './fixture.ts';

const NOBODY = '3f1f0c55-3d9b-4a53-9d1a-000000000000';
const stores = useTestStores({ migrate });
let stack: AsyncDisposableStack;
let service: TestService;

beforeAll(async () => {
  stack = new AsyncDisposableStack();
  const limits = { SESSION_LIMIT_PER_MINUTE: '0', FAILURE_LIMIT_PER_MINUTE: '0' };
  service = stack.use(await startService(stores, { ...limits, GUEST_LIMIT_PER_MINUTE: '100000' }));
});
afterAll(() => stack.disposeAsync());

const sql = (text: string, values: unknown[] = []) =>
  withClient(stores.databaseUrl, async (client) => (await client.query(text, values)).rows);
const create = (json: unknown, headers: Record<string, string> = {}) =>
  service.service('POST', '/v1/sessions', json, headers);
const login = async (user = 'u_1', more: object = {}) =>
  (await create({ user_id: user, ...more })).body as { id: string; token: string };

describe('routes for back ends', () => {
  const SCOPED = 'serviceKey';
  interface Operation {
    readonly method: string;
    readonly path: string;
  }
  const operations = async (): Promise<Operation[]> => {
    const { body } = await service.call('GET', '/openapi.json');
    return Object.entries(body.paths as Record<string, Record<string, { security?: object[] }>>).flatMap(
      ([path, methods]) =>
        Object.entries(methods)
          .filter(([, { security }]) => (security ?? []).some((one) => SCOPED in one))
          .map(([method]) => ({ method: method.toUpperCase(), path })),
    );
  };
  const call = ({ method, path }: Operation, key: string | undefined, id = NOBODY): Promise<ApiReply> =>
    service.call(method, path.replace('{id}', id).replaceAll(/{\w+}/g, 'u_1'), {
      headers: key === undefined ? {} : { authorization: `Bearer ${key}` },
      ...(['POST', 'PUT', 'PATCH'].includes(method) ? { json: {} } : {}),
    });
  const makeKey = async (more: object) => (await service.service('POST', '/v1/api-keys', { name: 'x', ...more })).body;

  test('[SE8] [SE35] given no key, a revoked key or a key without the scope, each route is 401 or 403', async () => {
    const all = (await operations()).filter(({ path }) => path !== '/v1/token-exchange');
    expect(all.length).toBeGreaterThan(15);
    const revoked = await makeKey({ scopes: ['sessions:create'] });
    await service.service('DELETE', `/v1/api-keys/${revoked.id}`);
    const narrow = await makeKey({ scopes: ['sessions:create'] });
    const other = await makeKey({ scopes: ['ops'] });
    for (const one of all) {
      const seen = {
        none: (await call(one, undefined)).status,
        wrong: (await call(one, 'sk_wrong')).status,
        revoked: (await call(one, revoked.key)).status,
      };
      expect({ ...one, ...seen }).toEqual({ ...one, none: 401, wrong: 401, revoked: 401 });
      // No route is open to both of two keys that have no scope in common.
      const statuses = [(await call(one, narrow.key)).status, (await call(one, other.key)).status];
      expect({ ...one, refused: statuses.includes(403) }).toEqual({ ...one, refused: true });
    }
  });

  test('[SE35] given the key of another tenant, every route with a session id is 404', async () => {
    const scopes = ['sessions:create', 'sessions:read', 'sessions:write', 'sessions:end'];
    const mine = await makeKey({ scopes, tenant: 'mine' });
    const theirs = await makeKey({ scopes, tenant: 'theirs' });
    const opened = await service.bearer(mine.key, 'POST', '/v1/sessions', { user_id: 'u_1' });
    const bodies: Record<string, object | undefined> = {
      'PATCH /v1/sessions/{id}': { label: 'x' },
      'POST /v1/sessions/{id}/step-up': { aal: 2 },
      'POST /v1/sessions/{id}/upgrade': { user_id: 'u_2' },
    };
    const named = (await operations()).filter(({ path }) => path.startsWith('/v1/sessions/{id}'));
    expect(named.length).toBeGreaterThan(4);
    for (const { method, path } of named) {
      const ask = (id: string) =>
        service.bearer(theirs.key, method, path.replace('{id}', id), bodies[`${method} ${path}`]);
      const [foreign, nobody] = [await ask(opened.body.id), await ask(NOBODY)];
      if (method === 'DELETE') {
        // Ending an unknown session succeeds for callers with all permissions; here it must not be distinguishable from
        // a foreign session.
        expect(foreign.status).toBe(nobody.status);
      } else {
        expect({ method, path, status: foreign.status }).toEqual({ method, path, status: 404 });
        expect(foreign.body.type).toBe(nobody.body.type);
      }
    }
    const ended = await service.bearer(theirs.key, 'POST', '/v1/sessions/end', { ids: [opened.body.id] });
    expect(ended.body.ended ?? 0).toBe(0);
    expect((await service.bearer(opened.body.token, 'GET', '/v1/session')).status).toBe(200);
  });
});

describe('users', () => {
  test('[SE34] given body, query or header, no user can change the user or the tenant', async () => {
    const { id, token } = await login('u_self');
    for (const more of [
      { user_id: 'u_admin' },
      { tenant: 'other' },
      { kind: 'service' },
      { auth: { aal: 3 } },
      { grants: [] },
    ]) {
      const answer = await service.bearer(token, 'PATCH', '/v1/session', { label: 'x', ...more });
      expect(answer.status).toBe(422);
      expect(answer.body.detail[0].type).toBe('extra_forbidden');
    }
    const headers = { 'x-user-id': 'u_admin', 'x-tenant': 'other', 'x-forwarded-user': 'u_admin' };
    const me = await service.bearer(token, 'GET', '/v1/session', undefined, headers);
    expect(me.body).toMatchObject({ id, user_id: 'u_self', tenant: 'default' });
    const list = await service.bearer(token, 'GET', '/v1/me/sessions?user_id=u_admin', undefined, headers);
    expect([200, 422]).toContain(list.status);
    for (const one of list.body.items ?? []) expect(one.user_id).toBe('u_self');
  });

  test('[SE7] when sessions are listed or searched, no hash, data or full address is shown', async () => {
    const { token } = await login('u_list', { data: { secret: 'contents' }, ip: '203.0.113.77' });
    await service.bearer(token, 'POST', '/v1/session/rotate');
    const lists = [
      await service.bearer(token, 'GET', '/v1/me/sessions?state=all'),
      await service.service('GET', '/v1/sessions?user_id=u_list'),
      await service.service('GET', '/v1/users/u_list/export'),
    ];
    const hashes = await sql(
      `SELECT encode(secret_hash, 'hex') AS hex, encode(secret_hash, 'base64') AS b64, encode(prev_hash, 'hex') AS prev
       FROM sessions WHERE user_id = 'u_list'`,
    );
    for (const [at, { status, body }] of lists.entries()) {
      expect(status).toBe(200);
      const text = JSON.stringify(body);
      expect(text).not.toMatch(/hash|prev_until/i);
      expect(text).not.toContain('203.0.113.77');
      for (const { hex, b64, prev } of hashes) {
        for (const hash of [hex, b64.replace(/=+$/, ''), prev]) expect(text).not.toContain(hash);
      }
      if (at < 2) expect(text).not.toContain('contents');
    }
  });

  test('[SE42] given a refused guest session, it does not count as an invalid credential', async () => {
    await using strict = await startService(stores, { FAILURE_LIMIT_PER_MINUTE: '3' });
    await sql(
      `INSERT INTO subjects (tenant_id, user_id, max_sessions, at_limit) VALUES ('default', 'u_full', 1, 'reject')`,
    );
    const open = () => strict.service('POST', '/v1/sessions', { user_id: 'u_full' });
    const { body } = await open();
    for (let n = 0; n < 10; n += 1) expect((await open()).status).toBe(409);
    await strict.service('DELETE', `/v1/sessions/${body.id}`);
    expect((await open()).status).toBe(201);
  });
});

test('[SE6] given 500 sessions of one instant, pages neither skip nor repeat during changes', async () => {
  await sql(
    `INSERT INTO sessions (id, user_id, kind, policy, transport, secret_hash, idle_seconds, expires_at, idle_check_at, created_at)
     SELECT gen_random_uuid(), 'u_pages', 'user', 'standard', 'bearer', sha256(n::text::bytea), 3600,
       now() + interval '1 day', now() + interval '1 hour', date_trunc('second', now()) FROM generate_series(1, 500) AS n`,
  );
  await sql(`INSERT INTO subjects (tenant_id, user_id, max_sessions) VALUES ('default', 'u_pages', 10000)`);
  const before = new Set((await sql(`SELECT id FROM sessions WHERE user_id = 'u_pages'`)).map(({ id }) => id));
  const endedMeanwhile = new Set<string>();
  const seen: string[] = [];
  let cursor: string | null = null;
  let pages = 0;
  do {
    const query: string = cursor === null ? '' : `&cursor=${cursor}`;
    const { body, status }: ApiReply = await service.service('GET', `/v1/sessions?user_id=u_pages&limit=50${query}`);
    expect(status).toBe(200);
    seen.push(...body.items.map(({ id }: { id: string }) => id));
    cursor = body.next;
    pages += 1;
    await login('u_pages');
    const [victim] = await sql(
      `UPDATE sessions SET ended_at = now(), end_reason = 'admin', rev = rev + 1 WHERE id =
        (SELECT id FROM sessions WHERE user_id = 'u_pages' AND ended_at IS NULL ORDER BY id LIMIT 1) RETURNING id`,
    );
    endedMeanwhile.add(victim.id);
  } while (cursor !== null && pages < 50);
  expect(new Set(seen).size).toBe(seen.length);
  for (const id of before) if (!endedMeanwhile.has(id)) expect(seen).toContain(id);
});

describe('input', () => {
  test('[SE13] given data at and beyond its bounds, each refusal has its loc', async () => {
    const nested = (depth: number): unknown => (depth === 0 ? 1 : [nested(depth - 1)]);
    const keys = (count: number) =>
      Object.fromEntries(Array.from({ length: count }, (_, n) => [`${n.toString(36)}`, 1]));
    for (const data of [{ d: nested(101) }, { big: 'x'.repeat(17 * 1024) }]) {
      const answer = await create({ data });
      expect(answer.status).toBe(422);
      expect(answer.body.detail[0].loc.slice(0, 2)).toEqual(['body', 'data']);
    }
    expect((await create({ data: keys(10_001) })).status).toBe(413);
    const agent = 'a'.repeat(2000);
    const cut = await service.call('POST', '/v1/guest-sessions', {
      json: { transport: 'bearer' },
      headers: { 'user-agent': agent },
    });
    expect(cut.status).toBe(201);
    expect(cut.body.client.user_agent).toBe(agent.slice(0, 512));
  });

  test('[SE13] given text in any Unicode form, it is stored unchanged', async () => {
    for (const label of ['\u202Eevil', 'a\u200Bb', '👩‍👩‍👧', 'é', 'e\u0301', '%', '_', '\\', '$1', '<script>']) {
      const { id } = await login('u_text', { label });
      expect((await sql('SELECT label FROM sessions WHERE id = $1', [id]))[0].label).toBe(label);
    }
    const percent = await service.service('GET', `/v1/sessions?user_id=u_text&q=${encodeURIComponent('%')}`);
    expect(percent.body.items.map(({ label }: { label: string }) => label)).toEqual(['%']);
    const slash = await service.service('GET', `/v1/sessions?user_id=u_text&q=${encodeURIComponent('\\')}`);
    expect(slash.body.items.map(({ label }: { label: string }) => label)).toEqual(['\\']);
    expect((await service.service('GET', '/v1/sessions?q=%00')).status).toBe(422);
  });

  test('[SE13] [SE14] given any refusal, it has one of two formats and shows no internals', async () => {
    const { token } = await login('u_shapes');
    const cookie = cookieOf(await create({ user_id: 'u_shapes', transport: 'cookie' }));
    const text = fc.string({ unit: 'binary', maxLength: 40 });
    const json = fc.jsonValue({ maxDepth: 3 });
    const paths = [
      '/v1/sessions',
      '/v1/session',
      '/v1/me/sessions',
      '/v1/guest-sessions',
      `/v1/sessions/${NOBODY}`,
      '/v1/sessions/end',
      '/v1/sessions/check',
      '/v1/users/u/sessions',
      '/v1/nowhere',
    ];
    const credential = fc.constantFrom<Record<string, string>>(
      {},
      { authorization: `Bearer ${SERVICE_KEY}` },
      { authorization: `Bearer ${token}` },
      { cookie },
      { authorization: 'Bearer x' },
    );
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom('GET', 'POST', 'PATCH', 'PUT', 'DELETE'),
        fc.constantFrom(...paths),
        fc.option(text),
        credential,
        fc.oneof(json, fc.dictionary(fc.constantFrom('user_id', 'label', 'data', 'ids', 'tokens', 'aal'), json)),
        async (method, path, query, headers, body) => {
          const at = query === null ? path : `${path}?limit=${encodeURIComponent(query.toWellFormed())}`;
          const {
            status,
            body: answer,
            headers: answered,
          } = await service.call(method, at, {
            headers,
            ...(method === 'GET' ? {} : { json: body }),
          });
          expect(status).toBeLessThan(500);
          if (status < 400) return;
          expect(JSON.stringify(answer)).not.toMatch(/SELECT|INSERT|sessions_|node:|\.ts:|127\.0\.0\.1|postgres:/);
          if (status !== 422) {
            expect(answered.get('content-type')).toContain('application/problem+json');
            expect(answer).toMatchObject({ status, title: expect.any(String), type: expect.any(String) });
            if (answer.detail !== undefined) expect(typeof answer.detail).toBe('string');
            return;
          }
          expect(Object.keys(answer)).toContain('detail');
          expect(answer.detail.length).toBeGreaterThan(0);
          for (const failure of answer.detail) {
            expect(Object.keys(failure).toSorted()).toEqual(['loc', 'msg', 'type']);
            expect(['body', 'query', 'path', 'header', 'cookie']).toContain(failure.loc[0]);
            for (const part of failure.loc) expect(['string', 'number']).toContain(typeof part);
          }
        },
      ),
      { numRuns: 400 },
    );
  });
});

describe('hosts of tenants', () => {
  const HOSTS = { TENANT_HOSTS: 'a.example.com=a,b.example.com=b', TRUSTED_PROXIES: '127.0.0.1' };
  const at = (host: string) => ({ 'x-forwarded-host': host });

  test('[SE53] given the host of another tenant, a token is invalid', async () => {
    await using housed = await startService(stores, HOSTS);
    const open = async (tenant?: string) =>
      (await housed.service('POST', '/v1/sessions', { user_id: 'u_host', ...(tenant ? { tenant } : {}) })).body;
    const [a, plain] = [await open('a'), await open()];
    const ask = (token: string, host: string, path = '/v1/session', method = 'GET') =>
      housed.bearer(token, method, path, undefined, at(host));
    expect((await ask(a.token, 'a.example.com')).status).toBe(200);
    expect((await ask(plain.token, 'www.example.com')).status).toBe(200);
    for (const same of ['a.example.com.', 'A.Example.com:8443', 'a.example.com.:8443']) {
      expect([same, (await ask(a.token, same)).status, (await ask(plain.token, same)).status]).toEqual([
        ...[same, 200, 401],
      ]);
    }
    for (const [token, host] of [
      [a.token, 'b.example.com'],
      [a.token, 'www.example.com'],
      [plain.token, 'a.example.com'],
    ]) {
      const [foreign, nobody] = [await ask(token, host), await ask(`${token.slice(0, -2)}xx`, host)];
      expect([foreign.status, foreign.body.type]).toEqual([401, nobody.body.type]);
      expect((await ask(token, host, '/v1/session', 'DELETE')).status).toBe(401);
      expect((await ask(token, host, '/v1/me/sessions')).status).toBe(401);
    }
    expect((await ask(a.token, 'a.example.com')).status).toBe(200);
  });

  test('[SE53] given an ended session, only its own host receives the reason', async () => {
    await using housed = await startService(stores, HOSTS);
    const end = async (tenant: string) => {
      const { body } = await housed.service('POST', '/v1/sessions', { user_id: 'u_host', tenant });
      await housed.service('DELETE', `/v1/sessions/${body.id}?reason=admin`);
      return body;
    };
    const [a, plain] = [await end('a'), await end('default')];
    const redis = new Redis(stores.redisUrl);
    for (const from of ['redis', 'postgres'] as const) {
      // Without the tombstone Postgres is queried, and the tombstone is written again.
      if (from === 'postgres') await redis.del([a, plain].map(({ id }) => `${stores.redisPrefix}s:{${id}}`));
      for (const [{ token }, own, foreign] of [
        [a, 'a.example.com', ['b.example.com', 'www.example.com']],
        [plain, 'www.example.com', ['a.example.com', 'b.example.com']],
      ] as const) {
        for (const host of foreign) {
          for (const method of ['GET', 'DELETE']) {
            const answer = await housed.bearer(token, method, '/v1/session', undefined, at(host));
            expect(answer).toMatchObject({ status: 401, body: { type: '/problems/invalid-token' } });
            expect(JSON.stringify(answer.body)).not.toContain('admin');
          }
        }
        const home = await housed.bearer(token, 'GET', '/v1/session', undefined, at(own));
        expect(home).toMatchObject({
          status: 401,
          body: { type: '/problems/session-ended', end_reason: 'admin' },
        });
      }
    }
    await redis.quit();
  });

  test('[SE43] given the key of another tenant, an ended session is unknown', async () => {
    const { body } = await service.service('POST', '/v1/sessions', { user_id: 'u_host', tenant: 'a' });
    await service.service('DELETE', `/v1/sessions/${body.id}?reason=admin`);
    const reasonFor = async (tenant: string) => {
      const made = await service.service('POST', '/v1/api-keys', {
        name: 'x',
        scopes: ['sessions:check'],
        tenant,
      });
      const headers = { authorization: `Bearer ${made.body.key}` };
      const json = { tokens: [{ token: body.token }] };
      return (await service.call('POST', '/v1/sessions/check', { headers, json })).body.items[0].reason;
    };
    expect(await reasonFor('a')).toBe('admin');
    expect(await reasonFor('b')).toBe('unknown');
  });

  test('[SE94] given the host of a tenant, a guest belongs to the tenant', async () => {
    await using housed = await startService(stores, { ...HOSTS, GUEST_SESSIONS: 'on' });
    const { body } = await housed.call('POST', '/v1/guest-sessions', {
      json: { transport: 'bearer' },
      headers: { origin: ORIGIN, ...at('b.example.com') },
    });
    expect(body.tenant).toBe('b');
  });
});
