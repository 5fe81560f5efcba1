import { request } from 'node:http';
import { migrate } from '@muster/session-service/postgres/migration-runner';
import { searchStatement } from '@muster/session-service/postgres/queries/search-sessions';
import { useTestStores } from '@muster/testkit/stores';
import { until } from '@muster/testkit/wait';
import { Client } from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { cookieOf, ORIGIN, SERVICE_KEY, startService, type TestService } from './fixture.ts';

const stores = useTestStores({ migrate });
let service: TestService;
let db: Client;

beforeAll(async () => {
  service = await startService(stores, { SESSION_LIMIT_PER_MINUTE: '0', FAILURE_LIMIT_PER_MINUTE: '20' });
  db = new Client({ connectionString: stores.databaseUrl });
  await db.connect();
});
afterAll(async () => {
  await db.end();
  await service[Symbol.asyncDispose]();
});

const sql = async (text: string, values: unknown[] = []) => (await db.query(text, values)).rows;
const login = async (json: object = {}) =>
  (await service.service('POST', '/v1/sessions', { user_id: 'u_1', ...json })).body;

let calls = 0;
/** Sends the path as it stands; `fetch` would resolve dots and slashes first. */
const raw = (method: string, path: string, headers: Record<string, string>, json?: object): Promise<number> =>
  new Promise((resolve, reject) => {
    const { port } = new URL(service.url);
    const body = json === undefined ? '' : JSON.stringify(json);
    const length = { 'content-type': 'application/json', 'content-length': String(body.length) };
    // Each from an address of its own: this is not about limits.
    calls += 1;
    const own = { ...headers, 'x-forwarded-for': `10.${calls >> 16}.${(calls >> 8) & 255}.${calls & 255}` };
    const sent = json === undefined ? own : { ...own, ...length };
    const asked = request({ host: '127.0.0.1', port, method, path, headers: sent }, (answer) => {
      answer.resume().on('end', () => resolve(answer.statusCode ?? 0));
    });
    asked.on('error', (error) => reject(new Error(`${method} ${path}`, { cause: error }))).end(body);
  });

/** Everything that a request could have changed. */
const state = async (): Promise<string> => {
  const tables = ['sessions', 'subjects', 'api_keys', 'idempotency_keys', 'session_events'];
  const rows = await Promise.all(
    tables.map((table) =>
      sql(
        table === 'sessions'
          ? 'SELECT id, user_id, rev, label, data, grants, ended_at, end_reason, expires_at FROM sessions ORDER BY id'
          : table === 'api_keys'
            ? 'SELECT id, name, revoked_at FROM api_keys ORDER BY id'
            : `SELECT count(*) FROM ${table}`,
      ),
    ),
  );
  return JSON.stringify(rows);
};

test('[SE55] given a trailing slash, an empty id or dot segments, no route changes anything', async () => {
  const own = await login();
  await login();
  const cookie = cookieOf(await service.service('POST', '/v1/sessions', { user_id: 'u_1', transport: 'cookie' }));
  const key = await service.service('POST', '/v1/api-keys', { name: 'other', scopes: ['sessions:read'] });
  expect(key.status).toBe(201);
  const { body: document } = await service.call('GET', '/openapi.json');
  const paths = Object.keys(document.paths as object);
  expect(paths.length).toBeGreaterThan(20);
  const targets = paths.flatMap((template) => {
    const withId = (id: string) => template.replaceAll(/\{\w+\}/g, id);
    const slashed = [`${withId(own.id)}/`, `/${withId(own.id)}`, `${withId(own.id)}//`, `${withId(own.id)}/.`];
    const isCollectionToo = template.includes('{');
    const ids = ['', '.', '..', '%2e', '%2E%2e', '%00'];
    return [...slashed, `${withId(own.id)}/..`, ...(isCollectionToo ? ids.map(withId) : [])];
  });
  const credentials = [
    { authorization: `Bearer ${SERVICE_KEY}` },
    { authorization: `Bearer ${own.token}` },
    { cookie, origin: ORIGIN },
  ];
  const before = await state();
  const wrong: string[] = [];
  for (const path of new Set(targets)) {
    await Promise.all(
      ['GET', 'POST', 'PUT', 'PATCH', 'DELETE'].flatMap((method) =>
        credentials.map(async (headers) => {
          const status = await raw(method, path, headers, method === 'GET' ? undefined : {});
          // 401: the credential of another plane, looked at before the id is.
          const isRefused = [401, 403, 404, 405, 422].includes(status);
          if (!isRefused) wrong.push(`${status} ${method} ${path} ${Object.keys(headers)[0]}`);
        }),
      ),
    );
  }
  expect(wrong).toEqual([]);
  expect(await state()).toBe(before);
});

test('[SE67] given neither except nor all, no session ends', async () => {
  const [own, other] = [await login({ user_id: 'u_all' }), await login({ user_id: 'u_all' })];
  const end = (query: string) => service.bearer(own.token, 'DELETE', `/v1/me/sessions${query}`);
  for (const query of ['', '?', '?all=false', '?all=', '?except=', '?all=true&except=current', '?all=true&all=true']) {
    expect([query, (await end(query)).status]).toEqual([query, 422]);
  }
  expect((await end('/')).status).toBe(404);
  expect((await service.bearer(other.token, 'GET', '/v1/session')).status).toBe(200);
  expect((await end('?except=current')).body).toMatchObject({ ended: 1 });
  expect((await end('?all=true')).body).toMatchObject({ ended: 1 });
});

describe('several cookies', () => {
  const cookiesOf = async (count: number): Promise<string[]> =>
    Promise.all(
      Array.from({ length: count }, async () =>
        cookieOf(await service.service('POST', '/v1/sessions', { user_id: 'u_cookies', transport: 'cookie' })),
      ),
    );

  test('[SE4] given several cookies, the first live session is used at any position', async () => {
    const [ended = '', live = '', second = ''] = await cookiesOf(3);
    await service.cookie(ended, 'DELETE', '/v1/session');
    const who = async (...cookies: string[]) => {
      const answer = await service.cookie(cookies.join('; '), 'GET', '/v1/session');
      return answer.body.id ?? answer.body.type;
    };
    const id = await who(live);
    expect(id).toMatch(/^[0-9a-f-]{36}$/);
    for (const cookies of [
      [ended, live],
      [live, ended],
      ['session_id=x', ended, live],
      [ended, ended, 'session_id=s:a.b.c', live],
      [ended, live, second],
    ]) {
      expect(await who(...cookies)).toBe(id);
    }
    expect(await who('session_id=x', ended)).toBe('/problems/session-ended');
    expect(await who('session_id=x', 'session_id=y')).toBe('/problems/invalid-token');
  });
});

describe('limits and valid credentials', () => {
  const from = (ip: string) => ({ 'x-forwarded-for': ip });
  const withKey = (key: string, ip: string) =>
    service.call('GET', '/v1/policies', { headers: { authorization: `Bearer ${key}`, ...from(ip) } });
  const shaped = () => `sk_${Buffer.from(crypto.getRandomValues(new Uint8Array(32))).toString('base64url')}`;

  test('[SE91] given an address with many failures, its valid keys work, cached or not', async () => {
    const make = async (name: string) =>
      (await service.service('POST', '/v1/api-keys', { name, scopes: ['sessions:read'] })).body.key as string;
    const [known, fresh] = [await make('known'), await make('fresh')];
    const ip = '203.0.113.50';
    expect((await withKey(known, '198.51.100.1')).status).toBe(200);
    const statuses: number[] = [];
    for (let n = 0; n < 40; n += 1) statuses.push((await withKey(n % 2 ? shaped() : 'wrong', ip)).status);
    expect(statuses.slice(0, 20)).toEqual(Array(20).fill(401));
    expect(statuses.slice(20)).toEqual(Array(20).fill(429));
    expect((await withKey(SERVICE_KEY, ip)).status).toBe(200);
    expect((await withKey(known, ip)).status).toBe(200);
    // Never seen by this replica, while a flood of guesses from the same address is being looked up.
    const flood = Array.from({ length: 200 }, () => withKey(shaped(), ip));
    expect((await withKey(fresh, ip)).status).toBe(200);
    for (const answer of await Promise.all(flood)) expect([429, 503]).toContain(answer.status);
    expect((await withKey('wrong', '203.0.113.51')).status).toBe(401);
  });

  test('[SE42] given a forwarded address with a port, the port is ignored', async () => {
    const ask = (told: string) => withKey('wrong', told);
    for (let n = 0; n < 20; n += 1) await ask(`203.0.113.60:${5_000 + n}`);
    expect((await ask('203.0.113.60')).status).toBe(429);
    expect((await ask('203.0.113.61:5000')).status).toBe(401);
    for (let n = 0; n < 20; n += 1) await ask(`[2001:db8:0:7::${n}]:443`);
    expect((await ask('2001:db8:0:7::99')).status).toBe(429);
    expect((await ask('[2001:db8:0:8::99]:443')).status).toBe(401);
    const guest = await service.call('POST', '/v1/guest-sessions', {
      json: { transport: 'bearer' },
      headers: from('198.51.100.77:61000'),
    });
    expect(guest.body.ip).toBe('198.51.100.0/24');
  });

  test('[SE84] given a superseded secret, it is limited per session, cheap, and does not affect the current secret', async () => {
    const { id, token } = await login({ user_id: 'u_stale' });
    const stepped = await service.service('POST', `/v1/sessions/${id}/step-up`, { aal: 2 });
    const reads = () => service.metric('db_client_operation_duration_seconds_count{operation="find_sessions"}');
    const before = await reads();
    const statuses: number[] = [];
    const begun = performance.now();
    for (let n = 0; n < 100; n += 1) {
      statuses.push((await service.bearer(token, 'GET', '/v1/session')).status);
      if (n % 10 === 0) {
        expect((await service.bearer(stepped.body.token, 'GET', '/v1/session')).status).toBe(200);
      }
    }
    const seconds = (performance.now() - begun) / 1_000;
    expect(statuses.slice(0, 20)).toEqual(Array(20).fill(401));
    expect(new Set(statuses.slice(20))).toEqual(new Set([429]));
    expect((await reads()) - before).toBeLessThanOrEqual(2 + seconds);
  });
});

describe('names of prototype members', () => {
  const hostile = [
    '{"__proto__":{"admin":true},"ok":1}',
    '{"a":{"__proto__":{"isAdmin":true}}}',
    '{"a":[{"b":{"constructor":{"prototype":{"x":1}}}}]}',
    '{"prototype":1}',
    '{"a":{"__proto__":null}}',
  ];
  const json = { 'content-type': 'application/json' };
  const key = { authorization: `Bearer ${SERVICE_KEY}` };

  test.each(hostile)('[SE13] given %s, every body is refused and nothing changes', async (data) => {
    const { id, token } = await login({ user_id: 'u_proto', data: { kept: 1 } });
    const calls: [string, string, Record<string, string>, string][] = [
      ['POST', '/v1/sessions', key, `{"user_id":"u_proto","data":${data}}`],
      ['POST', '/v1/sessions', key, `{"user_id":"u_proto","client":${data}}`],
      ['POST', '/v1/guest-sessions', {}, `{"transport":"bearer","data":${data}}`],
      ['PATCH', `/v1/sessions/${id}`, { ...key, 'if-match': '*' }, `{"data":${data}}`],
      ['PATCH', '/v1/session', { authorization: `Bearer ${token}`, 'if-match': '*' }, `{"data":${data}}`],
      ['PATCH', `/v1/me/sessions/${id}`, { authorization: `Bearer ${token}` }, data],
      ['PUT', '/v1/users/u_proto', key, data],
      ['POST', '/v1/api-keys', key, data],
      ['POST', '/v1/sessions/end', key, `{"filter":${data}}`],
    ];
    const before = await state();
    for (const [method, path, headers, body] of calls) {
      const answer = await service.call(method, path, { headers: { ...headers, ...json }, body });
      expect([method, path, answer.status]).toEqual([method, path, 422]);
    }
    expect(await state()).toBe(before);
    expect((await service.bearer(token, 'GET', '/v1/session')).body.data).toEqual({ kept: 1 });
  });
});

describe('keys and lists', () => {
  test('[SE87] given a revoked key, another replica refuses it within five seconds, also during a long poll', async () => {
    await using other = await startService(stores);
    const made = await service.service('POST', '/v1/api-keys', { name: 'x', scopes: ['events:read'] });
    const call = (path: string) => other.call('GET', path, { headers: { authorization: `Bearer ${made.body.key}` } });
    const { next } = (await call('/v1/events')).body;
    const waiting = call(`/v1/events?after=${next}&types=none&wait=20`);
    expect((await service.service('DELETE', `/v1/api-keys/${made.body.id}`)).status).toBe(204);
    const begun = performance.now();
    await until(async () => (await call('/v1/events')).status === 401, {
      what: 'the refusal',
      timeoutMs: 8_000,
    });
    expect((await waiting).status).toBe(401);
    expect(performance.now() - begun).toBeLessThan(6_500);
  });

  test('[SE76] given reject, the refusal has at most 20 sessions and the path of all', async () => {
    await service.service('PUT', '/v1/users/u%2Fmany', { max_sessions: 30, at_limit: 'reject' });
    for (let n = 0; n < 30; n += 1) await login({ user_id: 'u/many', user_agent: 'a'.repeat(500) });
    const refused = await service.service('POST', '/v1/sessions', { user_id: 'u/many' });
    expect(refused.status).toBe(409);
    expect(refused.body.sessions).toHaveLength(20);
    const all = await service.service('GET', `${refused.body.sessions_url}&limit=100`);
    expect(all.body.items).toHaveLength(30);
    expect(all.body.items[0].id).toBe(refused.body.sessions[0].id);
  });

  test.each([
    ['evict_idle', 0],
    ['evict_idle', 1],
  ])('[SE75] given %s, the session that was used last on either replica stays (%i)', async (_, at) => {
    await using other = await startService(stores);
    const user = `u_used_${at}`;
    await service.service('PUT', `/v1/users/${user}`, { max_sessions: 2 });
    const [used, idle] = [await login({ user_id: user }), await login({ user_id: user })];
    await sql(`UPDATE sessions SET last_seen_at = now() - interval '3 hours' WHERE id = $1`, [used.id]);
    await sql(`UPDATE sessions SET last_seen_at = now() - interval '2 hours' WHERE id = $1`, [idle.id]);
    const user_of = at === 0 ? service : other;
    expect((await user_of.bearer(used.token, 'GET', '/v1/session')).status).toBe(200);
    await new Promise((resolve) => setTimeout(resolve, 100)); // "Used 0.1 s ago" is the case.
    await login({ user_id: user });
    expect((await service.bearer(used.token, 'GET', '/v1/session')).status).toBe(200);
    expect((await service.bearer(idle.token, 'GET', '/v1/session')).status).toBe(401);
  });
});

const EXACT: readonly [string, object, RegExp][] = [
  ['device', { deviceId: 'device-777' }, /sessions_by_device/],
  ['user', { userId: 'user-777' }, /sessions(_live)?_by_user/],
  ['session at the issuer', { idpSid: 'sid-777' }, /sessions_by_idp_session/],
  ['subject at the issuer', { idpSub: 'sub-777' }, /sessions_by_idp_subject/],
  ['address', { addresses: ['10.7.77.0/24'] }, /sessions_by_(created|last)_ip/],
  ['client', { client: 'rare' }, /sessions_by_client/],
];

test('[SE75] given uses within one flush interval, evict_idle orders them', async () => {
  const user = 'u_order';
  await service.service('PUT', `/v1/users/${user}`, { max_sessions: 2 });
  const [first, second] = [await login({ user_id: user }), await login({ user_id: user })];
  for (const { token } of [first, second, first]) await service.bearer(token, 'GET', '/v1/session');
  await login({ user_id: user });
  expect((await service.bearer(first.token, 'GET', '/v1/session')).status).toBe(200);
  expect((await service.bearer(second.token, 'GET', '/v1/session')).status).toBe(401);
});

describe('search among many', () => {
  beforeAll(async () => {
    await sql(`INSERT INTO sessions (id, tenant_id, user_id, kind, policy, transport, secret_hash, device_id, client_kind,
        created_ip, last_ip, idp, idp_sid, idp_sub, created_at, idle_seconds, expires_at, idle_check_at)
      SELECT gen_random_uuid(), 'many', 'user-' || n, 'user', 'standard', 'bearer', sha256(n::text::bytea), 'device-' || n,
        CASE WHEN n = 777 THEN 'rare' ELSE 'web' END, net, net, 'https://id', 'sid-' || n, 'sub-' || n,
        now() - make_interval(secs => n), 0, now() + interval '1 day', 'infinity'
      FROM generate_series(1, 20000) n, LATERAL (SELECT format('10.%s.%s.0/24', n / 100, n % 100)::inet AS net) nets`);
    await sql('ANALYZE sessions');
  });

  test.each(EXACT)('[SE37] given an exact %s, its index is used, also by a generic plan', async (_, filter, index) => {
    const query = { tenant: 'many', state: 'all', limit: 20, after: undefined, ...filter } as const;
    const { text, values } = searchStatement(query);
    const types = values.map(() => 'unknown');
    for (const mode of ['force_custom_plan', 'force_generic_plan']) {
      await sql(`SET plan_cache_mode = ${mode}`);
      await sql(`PREPARE search (${types.join(', ')}) AS ${text}`);
      const literals = values.map((value) => (value === null ? 'NULL' : `'${String(value)}'`)).join(', ');
      const [{ 'QUERY PLAN': plan }] = (await sql(`EXPLAIN (ANALYZE, FORMAT JSON) EXECUTE search(${literals})`)) as [
        { 'QUERY PLAN': object },
      ];
      await sql('DEALLOCATE search');
      await sql('RESET plan_cache_mode');
      const shown = JSON.stringify(plan);
      expect(shown).toMatch(index);
      expect(shown).not.toContain('Seq Scan');
      // Rows that were read and thrown away: the whole tenant would be 19,999.
      const removed = [...shown.matchAll(/"Rows Removed by [^"]*":(\d+)/g)].map(([, count]) => Number(count));
      expect(Math.max(0, ...removed)).toBeLessThan(100);
    }
  });

  test('[SE37] given any filter, the result equals a full comparison', async () => {
    const search = async (query: string) => {
      const answer = await service.service('GET', `/v1/sessions?tenant=many&${query}`);
      return (answer.body.items as { user_id: string }[]).map((one) => one.user_id);
    };
    expect(await search('device_id=device-777')).toEqual(['user-777']);
    expect(await search('idp_sid=sid-778&client=web')).toEqual(['user-778']);
    expect(await search('idp_sid=sid-778&client=rare')).toEqual([]);
    expect(await search('ip=10.7.77.200')).toEqual(['user-777']);
    expect(await search('ip=10.7.77.0/24')).toEqual(['user-777']);
    expect(await search('client=rare&q=nothing')).toEqual([]);
    expect(await search('client=rare')).toEqual(['user-777']);
  });
});

describe('with a long reader', () => {
  test('[SE56] given housekeeping of the audit log, logins are not delayed', async () => {
    await sql(
      `CREATE TABLE session_events_201901 PARTITION OF session_events FOR VALUES FROM ('2019-01-01') TO ('2019-02-01')`,
    );
    const client = new Client({ connectionString: stores.databaseUrl });
    await client.connect();
    await client.query('BEGIN');
    await client.query('SELECT count(*) FROM session_events');
    const dropping = sql('SELECT drop_session_event_partitions(90) AS n');
    const begun = performance.now();
    await login({ user_id: 'u_reader' });
    const tookMs = performance.now() - begun;
    expect(await dropping).toEqual([{ n: 0 }]);
    // 50 ms of waiting, and the time of a login on a busy machine; it was two seconds.
    expect(tookMs).toBeLessThan(1_000);
    await client.query('COMMIT');
    await client.end();
    expect(await sql('SELECT drop_session_event_partitions(90) AS n')).toEqual([{ n: 1 }]);
  });
});
