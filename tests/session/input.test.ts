import { migrate } from '@muster/session-service/postgres/migration-runner';
import { useTestStores } from '@muster/testkit/stores';
import { withClient } from '@muster/testkit/template';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type ApiReply, cookieOf, ORIGIN, SERVICE_KEY, startService, type TestService } from './fixture.ts';

const stores = useTestStores({ migrate });
let service: TestService;
let token: string;
let cookie: string;

beforeAll(async () => {
  service = await startService(stores);
  token = (await service.service('POST', '/v1/sessions', { user_id: 'u_1' })).body.token;
  cookie = cookieOf(await service.service('POST', '/v1/sessions', { user_id: 'u_1', transport: 'cookie' }));
});
afterAll(() => service[Symbol.asyncDispose]());

const expectProblem = (answer: ApiReply, status: number, slug: string) => {
  expect(answer.status).toBe(status);
  expect(answer.headers.get('content-type')).toContain('application/problem+json');
  expect(answer.body).toMatchObject({ status, type: `/problems/${slug}` });
  expect(typeof answer.body.title).toBe('string');
};

const create = (json: unknown) => service.service('POST', '/v1/sessions', json);

describe('credentials', () => {
  test('[SE12] given a forged, truncated or oversized token, the refusal is the same', async () => {
    const before = await service.metric('db_client_operation_duration_seconds_count');
    const forged = `${token.slice(0, -1)}${token.endsWith('A') ? 'B' : 'A'}`;
    for (const bad of ['x', 's:', '.', '..', forged, `${token}x`, 'a'.repeat(8192), token.toUpperCase()]) {
      expectProblem(await service.bearer(bad, 'GET', '/v1/session'), 401, 'invalid-token');
    }
    for (let length = 1; length < token.length; length += 7) {
      expectProblem(await service.bearer(token.slice(0, length), 'GET', '/v1/session'), 401, 'invalid-token');
    }
    const probes = await service.metric('db_client_operation_duration_seconds_count{operation="outbox_pending"}');
    const after = await service.metric('db_client_operation_duration_seconds_count');
    expect(after - before).toBeLessThanOrEqual(probes);
    expect(await service.metric('session_token_verified_total{key="none"}')).toBeGreaterThan(15);
    expect((await service.bearer(token, 'GET', '/v1/session')).status).toBe(200);
  });

  test('[SE12] given cookies that are not tokens, they are refused', async () => {
    for (const value of ['', 's:', 's:.', '%E0%A4%A', 'a'.repeat(8192), `s:${token}`.slice(0, 80)]) {
      expectProblem(await service.cookie(`session_id=${value}`, 'GET', '/v1/session'), 401, 'invalid-token');
    }
    for (const name of ['SESSION_ID', '__Host-session_id', 'sid', '__proto__', 'constructor']) {
      expectProblem(await service.cookie(`${name}=s:${token}`, 'GET', '/v1/session'), 401, 'no-session');
    }
    const huge = await service.cookie(`session_id=${'a'.repeat(17_000)}`, 'GET', '/v1/session');
    expect(huge.status).toBe(431);
  });

  test('[SE66] given a token in the query or the body, it is ignored', async () => {
    expectProblem(await service.call('DELETE', '/v1/session', { headers: {} }), 401, 'no-session');
    expectProblem(await service.call('GET', `/v1/session?token=${encodeURIComponent(token)}`), 401, 'no-session');
  });
});

describe('bodies', () => {
  const failures: [string, unknown, (string | number)[], string][] = [
    ['an unknown member', { id: '3f1f0c55-3d9b-4a53-9d1a-000000000000' }, ['body', 'id'], 'extra_forbidden'],
    ['an unknown deep member', { client: { x: 1 } }, ['body', 'client', 'x'], 'extra_forbidden'],
    ['a number for text', { user_id: 7 }, ['body', 'user_id'], 'string_type'],
    ['an empty user', { user_id: '' }, ['body', 'user_id'], 'string_too_short'],
    ['a long user', { user_id: 'u'.repeat(256) }, ['body', 'user_id'], 'string_too_long'],
    ['a long label', { label: 'l'.repeat(101) }, ['body', 'label'], 'string_too_long'],
    ['a long agent', { user_agent: 'a'.repeat(513) }, ['body', 'user_agent'], 'string_too_long'],
    ['an unknown transport', { transport: 'pigeon' }, ['body', 'transport'], 'enum'],
    ['a level beyond 3', { auth: { aal: 4 } }, ['body', 'auth', 'aal'], 'less_than_equal'],
    ['a time that is none', { auth: { time: 'yesterday' } }, ['body', 'auth', 'time'], 'datetime_parsing'],
    ['a future login', { auth: { time: '2100-01-01T00:00:00Z' } }, ['body', 'auth', 'time'], 'value_error'],
    ['a NUL in the user', { user_id: 'u\0' }, ['body', 'user_id'], 'value_error'],
    ['a NUL in a label', { label: 'a\0b' }, ['body', 'label'], 'value_error'],
    ['a NUL in a data value', { data: { a: ['\0'] } }, ['body', 'data', 'a', 0], 'value_error'],
    ['a NUL in a data key', { data: { 'a\0': 1 } }, ['body', 'data'], 'value_error'],
    ['a lone surrogate', { label: 'a\ud800' }, ['body', 'label'], 'value_error'],
    ['a lone surrogate in data', { data: { a: '\udc00' } }, ['body', 'data', 'a'], 'value_error'],
    ['data that is a list', { data: [] }, ['body', 'data'], 'dict_type'],
    ['too much data', { data: { a: 'x'.repeat(17_000) } }, ['body', 'data'], 'value_error'],
    ['an inexact number', { data: { n: [2 ** 53] } }, ['body', 'data', 'n', 0], 'value_error'],
    [
      'a grant for everything',
      { grants: [{ groups: 'a', allow: ['rule'] }] },
      ['body', 'grants', 0, 'allow', 0],
      'enum',
    ],
    ['an address that is none', { ip: '1.2.3' }, ['body', 'ip'], 'value_error'],
    ['a country name', { country: 'Norway' }, ['body', 'country'], 'string_pattern_mismatch'],
  ];

  test.each(failures)('[SE13] given %s, the refusal has its loc', async (_what, body, loc, type) => {
    const answer = await create(body);
    expect(answer.status).toBe(422);
    expect(answer.headers.get('content-type')).toContain('application/json');
    expect(answer.body.detail).toContainEqual({ loc, type, msg: expect.any(String) });
    expect(JSON.stringify(answer.body)).not.toContain('"input"');
  });

  test('[SE13] given inexact numbers or excessive depth, the response is 422', async () => {
    const send = (body: string) =>
      service.call('POST', '/v1/sessions', {
        body,
        headers: { 'content-type': 'application/json', authorization: `Bearer ${SERVICE_KEY}` },
      });
    expect((await send('{"data":{"n":1e400}}')).body.detail[0]).toMatchObject({ loc: ['body', 'data', 'n'] });
    expect((await send('{"data":{"n":-0}}')).status).toBe(422);
    expect((await send('{"data":{"n":9007199254740993}}')).status).toBe(422);
    for (const depth of [200, 30_000]) {
      const deep = await send(`{"data":{"n":${'['.repeat(depth)}${']'.repeat(depth)}}}`);
      expect(deep.status, `${depth} levels`).toBe(422);
    }
    expect((await send('{"user_id":"twice","user_id":"u_last"}')).body.user_id).toBe('u_last');
    const broken = await send('{"user_id": }');
    expect(broken.status).toBe(422);
    expect(broken.body.detail[0]).toMatchObject({ type: 'json_invalid', loc: ['body', expect.any(Number)] });
    expectProblem(await send(`{"label":"${'x'.repeat(70_000)}"}`), 413, 'payload-too-large');
  });

  test('[SE13] given text with markup or SQL, it is stored unchanged', async () => {
    const label = `'; DROP TABLE sessions; -- $1 % _ \\ <b>\r\nSet-Cookie: x=1`;
    const opened = await create({
      user_id: `u' OR 1=1`,
      label,
      data: { quote: label, rtl: '\u202eabc', e: 0.1 },
    });
    expect(opened.status).toBe(201);
    expect(opened.body).toMatchObject({
      user_id: `u' OR 1=1`,
      label,
      data: { quote: label, rtl: '\u202eabc', e: 0.1 },
    });
    const again = await service.bearer(opened.body.token, 'GET', '/v1/session');
    expect(again.body).toMatchObject({ label, data: opened.body.data });
    expect(opened.headers.get('set-cookie')).toBeNull();
  });

  test.each(['text/plain', 'multipart/form-data', 'application/x-www-form-urlencoded', 'application/jsonx', ''])(
    '[SE13] the content type "%s" is 415',
    async (type) => {
      const headers = { authorization: `Bearer ${SERVICE_KEY}`, ...(type ? { 'content-type': type } : {}) };
      expectProblem(
        await service.call('POST', '/v1/sessions', { body: '{"user_id":"u"}', headers }),
        415,
        'unsupported-media-type',
      );
    },
  );

  test.each(['0', '-1', '101', '1e9', 'abc', '', '1&limit=2'])(
    '[SE13] given a limit of "%s", the response is 422',
    async (limit) => {
      const answer = await service.bearer(token, 'GET', `/v1/me/sessions?limit=${limit}`);
      expect(answer.status).toBe(422);
      expect(answer.body.detail[0].loc.slice(0, 2)).toEqual(['query', 'limit']);
    },
  );

  test.each(['{3f1f0c55-3d9b-4a53-9d1a-000000000000}', '3f1f0c553d9b4a539d1a000000000000', 'x', 'null'])(
    '[SE13] given the id %s in a path, the response is 422',
    async (id) => {
      const answer = await service.service('GET', `/v1/sessions/${encodeURIComponent(id)}`);
      expect(answer.status).toBe(422);
      expect(answer.body.detail[0].loc).toEqual(['path', 'id']);
    },
  );
});

test('[SE59] given ids in upper case, they are the same in paths, queries and bodies', async () => {
  const open = async (user: string) => (await create({ user_id: user })).body as { id: string; token: string };
  const [one, two, three] = [await open('u_case'), await open('u_case'), await open('u_case')];
  const upper = (session: { id: string }) => session.id.toUpperCase();
  expect((await service.service('GET', `/v1/sessions/${upper(one)}`)).body.id).toBe(one.id);
  expect((await service.service('POST', `/v1/sessions/${upper(one)}/extend`)).status).toBe(200);
  expect((await service.service('PATCH', `/v1/sessions/${upper(one)}`, { label: 'x' })).body.id).toBe(one.id);
  const stepped = await service.service('POST', `/v1/sessions/${upper(one)}/step-up`, { aal: 2 });
  expect(stepped.body.id).toBe(one.id);
  const own = (method: string, json?: unknown) =>
    service.bearer(two.token, method, `/v1/me/sessions/${upper(one)}`, json);
  expect((await own('PATCH', { label: 'y' })).body.label).toBe('y');
  const acting = await service.service('POST', '/v1/impersonations', {
    ...{ actor: 'u_case', actor_session: upper(two), user_id: 'u_other', reason: 'ticket 7' },
  });
  expect(acting.status).toBe(201);
  const checked = await service.internal('POST', '/internal/sessions/check', { ids: [upper(three)] });
  expect(checked.body.sessions).toMatchObject([{ id: three.id, state: 'live' }]);
  expect((await own('DELETE')).status).toBe(204);
  const all = await service.service('DELETE', `/v1/users/u_case/sessions?except=${upper(three)}`);
  expect(all.body.ended).toBe(1);
  const many = await service.service('POST', '/v1/sessions/end', { ids: [upper(three)] });
  expect(many.body.processed).toBe(1);
  const key = (await service.service('POST', '/v1/api-keys', { name: 'case', scopes: ['sessions:read'] })).body;
  const withKey = () => service.call('GET', '/v1/policies', { headers: { authorization: `Bearer ${key.key}` } });
  expect((await withKey()).status).toBe(200);
  expect((await service.service('DELETE', `/v1/api-keys/${upper(key)}`)).status).toBe(204);
  expect((await withKey()).status).toBe(401);
});

test('[SE14] given an unknown path or method, the response is a problem', async () => {
  expectProblem(await service.call('GET', '/v1/nothing'), 404, 'not-found');
  const wrong = await service.call('PUT', '/v1/session');
  expectProblem(wrong, 405, 'method-not-allowed');
  expect(wrong.headers.get('allow')).toMatch(/^GET, HEAD, DELETE/);
  expectProblem(
    await service.call('POST', '/v1/session', { headers: { 'x-http-method-override': 'DELETE' } }),
    405,
    'method-not-allowed',
  );
});

describe('changes by cookie', () => {
  const logout = (headers: Record<string, string>) =>
    service.call('DELETE', '/v1/me/sessions/3f1f0c55-3d9b-4a53-9d1a-000000000000', {
      headers: { cookie, ...headers },
    });

  test('[SE15] given pages of other sites, they are refused', async () => {
    for (const headers of [
      { 'sec-fetch-site': 'cross-site' },
      { 'sec-fetch-site': 'same-site' },
      { 'sec-fetch-site': 'none' },
      { 'sec-fetch-site': 'cross-site', origin: ORIGIN },
      { origin: 'https://evil.example' },
      { origin: 'null' },
      { origin: `${ORIGIN}.evil.example` },
      {},
      { 'x-csrf-token': 'x' },
    ]) {
      expectProblem(await logout(headers), 403, 'csrf');
    }
  });

  test('[SE15] given own pages or a CSRF token, a change is accepted', async () => {
    const { body } = await service.cookie(cookie, 'GET', '/v1/session/csrf');
    for (const headers of [
      { 'sec-fetch-site': 'same-origin' },
      { 'sec-fetch-site': 'same-site', origin: ORIGIN },
      { origin: ORIGIN },
      { 'x-csrf-token': body.token as string },
    ]) {
      expect((await logout(headers)).status).toBe(404);
    }
  });

  test('[SE71] given a bearer token, no origin is required', async () => {
    const { body } = await create({ user_id: 'u_bearer' });
    const answer = await service.bearer(body.token, 'DELETE', '/v1/session', undefined, {
      origin: 'https://evil.example',
      'sec-fetch-site': 'cross-site',
    });
    expect(answer.status).toBe(204);
  });

  test('[SE72] given a GET, no row changes', async () => {
    const rows = () =>
      withClient(stores.databaseUrl, async (client) => {
        const { rows: all } = await client.query('SELECT id, rev, xmin::text, last_seen_at FROM sessions ORDER BY id');
        return JSON.stringify(all);
      });
    const before = await rows();
    for (const path of ['/v1/session', '/v1/session/csrf', '/v1/me/sessions', '/openapi.json', '/docs', '/health']) {
      expect((await service.cookie(cookie, 'GET', path)).status).toBe(200);
    }
    expect(await rows()).toBe(before);
  });
});

test('[SE26] given every route, the document has it, and the docs page loads from the same origin', async () => {
  const { body } = await service.call('GET', '/openapi.json');
  expect(body.openapi).toBe('3.1.0');
  const paths = Object.keys(body.paths);
  expect(paths).toEqual(expect.arrayContaining(['/v1/session', '/v1/sessions/{id}', '/v1/guest-sessions']));
  // A documented path without a handler would be 404 for an unsupported method.
  for (const path of paths) {
    const answer = await service.call('PROPFIND', path.replaceAll(/{\w+}/g, 'x'));
    expect(answer.status).toBe(405);
  }
  const docs = await service.call('GET', '/docs');
  expect(docs.status).toBe(200);
  expect(docs.body).not.toMatch(/src="https?:|href="https?:/);
});
