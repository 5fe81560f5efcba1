import { migrate } from '@muster/session-service/postgres/migration-runner';
import { openDedicatedPostgres } from '@muster/testkit/dedicated-store';
import { useTestStores } from '@muster/testkit/stores';
import { withClient } from '@muster/testkit/template';
import { Redis } from 'ioredis';
import { generateKeyPair } from 'jose';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openSocket, startGateway } from '../gateway/fixture.ts';
import { CLIENT_ID, LOGOUT_EVENT, startIssuer, type TestIssuer } from './fake-issuer.ts';
import { startService, type TestService } from './fixture.ts';

const stores = useTestStores({ migrate });
let stack: AsyncDisposableStack;
let issuer: TestIssuer;
let service: TestService;

const issuersOf = () => JSON.stringify([{ name: 'acme', issuer: issuer.url, audience: [CLIENT_ID] }]);

beforeAll(async () => {
  stack = new AsyncDisposableStack();
  issuer = stack.use(await startIssuer());
  service = stack.use(await startService(stores, { OIDC_ISSUERS: issuersOf(), FAILURE_LIMIT_PER_MINUTE: '100000' }));
});
afterAll(() => stack.disposeAsync());

const FORM = { 'content-type': 'application/x-www-form-urlencoded' };
const logout = (token: string, at = service) =>
  at.call('POST', '/v1/oidc/backchannel-logout', {
    body: new URLSearchParams({ logout_token: token }).toString(),
    headers: FORM,
  });
const exchange = (token: string, at = service) =>
  at.call('POST', '/v1/token-exchange', {
    json: {
      grant_type: 'urn:ietf:params:oauth:grant-type:token-exchange',
      subject_token: token,
      subject_token_type: 'urn:ietf:params:oauth:token-type:id_token',
    },
  });
const login = async (claims: Record<string, unknown>, at = service) => {
  const answer = await exchange(await issuer.idToken({ claims }), at);
  expect(answer.status, JSON.stringify(answer.body)).toBe(200);
  return answer.body as { id: string; token: string };
};
const check = async (token: string, at = service) => {
  const { status, body } = await at.bearer(token, 'GET', '/v1/session');
  return status === 200 ? 'live' : (body.end_reason as string);
};
const now = () => Math.floor(Date.now() / 1000);
let person = 0;
const someone = () => {
  person += 1;
  return `person-${person}`;
};

describe('a logout', () => {
  test('[BL1] given a sid, exactly that login ends and the end is published', async () => {
    const sub = someone();
    const [one, two] = [await login({ sub, sid: `${sub}-1` }), await login({ sub, sid: `${sub}-2` })];
    const answer = await logout(await issuer.logoutToken({ claims: { sub, sid: `${sub}-1` } }));
    expect(answer.status).toBe(200);
    expect(answer.body).toBe('');
    expect(answer.headers.get('cache-control')).toBe('no-store');
    expect([await check(one.token), await check(two.token)]).toEqual(['idp_logout', 'live']);
    const redis = new Redis(stores.redisUrl);
    const [entry] = await redis.xrevrange(`${stores.redisPrefix}{bus}log`, '+', '-', 'COUNT', 1);
    const tombstone = await redis.get(`${stores.redisPrefix}s:{${one.id}}`);
    redis.disconnect();
    expect(JSON.parse(entry![1][1]!)).toMatchObject({ k: 'end', ids: [one.id], why: 'idp_logout' });
    expect(tombstone).toMatch(/^!\d+\|idp_logout$/);
  });

  test('[BL1] given a sub, exactly the logins of that user at that issuer end', async () => {
    const sub = someone();
    const [one, two] = [await login({ sub, sid: `${sub}-1` }), await login({ sub })];
    const other = await login({ sub: someone() });
    const elsewhere = await service.service('POST', '/v1/sessions', {
      user_id: `acme|${sub}`,
      auth: { idp: 'https://other.example', idp_sub: sub },
    });
    const byBackEnd = await service.service('POST', '/v1/sessions', {
      user_id: 'their-own-id',
      auth: { idp: issuer.url, idp_sub: sub },
    });
    expect((await logout(await issuer.logoutToken({ claims: { sub } }))).status).toBe(200);
    const tokens = [one, two, other, elsewhere.body, byBackEnd.body].map(({ token }) => token as string);
    expect(await Promise.all(tokens.map((token) => check(token)))).toEqual([
      'idp_logout',
      'idp_logout',
      'live',
      'live',
      'idp_logout',
    ]);
  });

  test('[BL1] given an unknown user, the response is 200; more than 500 sessions end', async () => {
    expect((await logout(await issuer.logoutToken({ claims: { sub: 'nobody' } }))).status).toBe(200);
    const sub = someone();
    const { id } = await login({ sub });
    await withClient(stores.databaseUrl, (client) =>
      client.query(
        `INSERT INTO sessions (id, user_id, kind, policy, transport, secret_hash, aal, idp, idp_sub, idle_seconds, expires_at, idle_check_at)
         SELECT gen_random_uuid(), 'many-' || n, kind, policy, transport, secret_hash, aal, idp, idp_sub, idle_seconds, expires_at, idle_check_at
         FROM sessions, generate_series(1, 1200) n WHERE id = $1`,
        [id],
      ),
    );
    expect((await logout(await issuer.logoutToken({ claims: { sub } }))).status).toBe(200);
    const { rows } = await withClient(stores.databaseUrl, (client) =>
      client.query('SELECT end_reason, count(*)::int FROM sessions WHERE idp_sub = $1 GROUP BY 1', [sub]),
    );
    expect(rows).toEqual([{ end_reason: 'idp_logout', count: 1201 }]);
  });

  test('[BL1] given a logout, the audit log has it with the issuer', async () => {
    const sub = someone();
    const { id } = await login({ sub });
    await logout(await issuer.logoutToken({ claims: { sub } }));
    const { rows } = await withClient(stores.databaseUrl, (client) =>
      client.query('SELECT type, actor, detail FROM session_events WHERE session_id = $1 ORDER BY id', [id]),
    );
    expect(rows.map(({ type, actor }) => [type, actor])).toEqual([
      ['session.created', 'idp:acme'],
      ['session.ended', 'idp:acme'],
    ]);
    expect(rows[1].detail).toEqual({ reason: 'idp_logout' });
  });
});

test('[BL1] given a logout, the sockets close', async () => {
  await using gateway = await startGateway(stores, service.opsUrl);
  const sub = someone();
  const [one, two] = [await login({ sub, sid: `${sub}-1` }), await login({ sub, sid: `${sub}-2` })];
  const connect = async (token: string) => {
    const socket = await openSocket(`${gateway.wsUrl}/connection/websocket`);
    socket.send({ id: 1, connect: { token } });
    await socket.reply(1);
    return socket;
  };
  const [over, other] = [await connect(one.token), await connect(two.token)];
  await logout(await issuer.logoutToken({ claims: { sub, sid: `${sub}-1` } }));
  expect((await over.closed).code).toBe(4501);
  other.send({ id: 2, rpc: { method: 'nothing' } });
  expect(await other.reply(2)).toBeDefined();
  other.socket.close();
});

describe('an invalid logout token', () => {
  const bad: [string, string, () => Promise<string> | string][] = [
    ['no token', 'malformed', () => ''],
    ['nonsense', 'malformed', () => 'x.y.z'],
    ['an ID token', 'claims', () => issuer.idToken()],
    ['a nonce', 'claims', () => issuer.logoutToken({ claims: { nonce: 'n' } })],
    ['an empty nonce', 'claims', () => issuer.logoutToken({ claims: { nonce: null } })],
    ['no events', 'claims', () => issuer.logoutToken({ without: ['events'] })],
    ['other events', 'claims', () => issuer.logoutToken({ claims: { events: { 'urn:x': {} } } })],
    ['an event that is no object', 'claims', () => issuer.logoutToken({ claims: { events: { [LOGOUT_EVENT]: 1 } } })],
    ['a list of events', 'claims', () => issuer.logoutToken({ claims: { events: [LOGOUT_EVENT] } })],
    ['neither sid nor sub', 'claims', () => issuer.logoutToken({ without: ['sub'] })],
    ['an empty sid', 'claims', () => issuer.logoutToken({ claims: { sid: '' } })],
    ['no jti', 'claims', () => issuer.logoutToken({ without: ['jti'] })],
    ['no iat', 'not_yet', () => issuer.logoutToken({ without: ['iat'] })],
    ['no exp', 'claims', () => issuer.logoutToken({ without: ['exp'] })],
    ['a token that is over', 'expired', () => issuer.logoutToken({ claims: { exp: now() - 1 } })],
    ['another audience', 'audience', () => issuer.logoutToken({ claims: { aud: 'x' } })],
    ['another issuer', 'unknown_issuer', () => issuer.logoutToken({ claims: { iss: 'https://x.example' } })],
    [
      'another key',
      'signature',
      async () => {
        const { privateKey } = await generateKeyPair('RS256');
        return issuer.logoutToken({ key: privateKey });
      },
    ],
    [
      'HS256',
      'algorithm',
      () => issuer.logoutToken({ algorithm: 'HS256', header: { kid: 'key-RS256' }, key: new Uint8Array(64) }),
    ],
  ];

  test.each(bad)('[BL2] given %s, the response is 400: %s', async (_what, reason, make) => {
    const live = await login({ sub: 'ann' });
    const answer = await logout(await make());
    expect(answer.status).toBe(400);
    expect(answer.headers.get('content-type')).toContain('application/problem+json');
    expect(answer.headers.get('cache-control')).toBe('no-store');
    expect(answer.body).toMatchObject({ error: 'invalid_request', reason });
    expect(await check(live.token)).toBe('live');
  });

  test('[BL2] given a used token, it is refused; unknown form members are ignored; JSON is 415', async () => {
    const token = await issuer.logoutToken({ claims: { sub: someone() } });
    const asked = { body: `logout_token=${token}&state=1`, headers: FORM };
    expect((await service.call('POST', '/v1/oidc/backchannel-logout', asked)).status).toBe(200);
    expect((await logout(token)).body).toMatchObject({ status: 400, reason: 'replayed' });
    const json = { json: { logout_token: await issuer.logoutToken() } };
    expect((await service.call('POST', '/v1/oidc/backchannel-logout', json)).status).toBe(415);
    const nothing = await service.call('POST', '/v1/oidc/backchannel-logout', { body: '', headers: FORM });
    expect(nothing.status).toBe(400);
  });

  test('[BL2] given a token without a type, it is accepted', async () => {
    for (const typ of ['JWT', 'application/logout+jwt', undefined]) {
      const token = await issuer.logoutToken({ header: { typ }, claims: { sub: someone() } });
      expect((await logout(token)).status).toBe(200);
    }
  });
});

describe('logins after a logout', () => {
  test('[BL3] given a token of an ended login, no session is opened', async () => {
    const sub = someone();
    const late = await issuer.idToken({ claims: { sub, sid: `${sub}-1` } });
    const before = await issuer.idToken({ claims: { sub, iat: now() - 10 } });
    await logout(await issuer.logoutToken({ claims: { sub, sid: `${sub}-1` } }));
    expect((await exchange(late)).body).toMatchObject({ status: 401, reason: 'logged_out' });
    await logout(await issuer.logoutToken({ claims: { sub } }));
    expect((await exchange(before)).body).toMatchObject({ status: 401, reason: 'logged_out' });
    await login({ sub, sid: `${sub}-2` });
  });

  test('[BL3] given concurrent logins and their logout, no session stays live', async () => {
    for (let round = 0; round < 10; round += 1) {
      const sub = someone();
      const claims = { sub, sid: `${sub}-1` };
      const tokens = await Promise.all(Array.from({ length: 6 }, () => issuer.idToken({ claims })));
      const logoutToken = await issuer.logoutToken({ claims });
      const under = tokens.map((token) => exchange(token));
      await new Promise((resolve) => setTimeout(resolve, round));
      const [done, ...answers] = await Promise.all([logout(logoutToken), ...under]);
      expect(done!.status).toBe(200);
      const opened = answers.filter(({ status }) => status === 200);
      const states = await Promise.all(opened.map(({ body }) => check(body.token)));
      expect(states.filter((state) => state === 'live')).toEqual([]);
      const list = await service.service('GET', `/v1/users/${encodeURIComponent(`acme|${sub}`)}/sessions`);
      expect(list.body.items).toEqual([]);
    }
  });

  test('[BL4] given no Postgres, the response is 503 and the same token ends the session afterwards', async () => {
    await using postgres = await openDedicatedPostgres();
    await migrate(postgres.url, service.log);
    await using own = await startService(
      { databaseUrl: postgres.url, redisUrl: stores.redisUrl, redisPrefix: `${stores.redisPrefix}own:` },
      { OIDC_ISSUERS: issuersOf() },
    );
    const sub = someone();
    const { token } = await login({ sub, sid: `${sub}-1` }, own);
    const logoutToken = await issuer.logoutToken({ claims: { sub, sid: `${sub}-1` } });
    const idToken = await issuer.idToken({ claims: { sub } });
    await postgres.stop();
    const answer = await logout(logoutToken, own);
    expect(answer.status).toBe(503);
    expect(answer.headers.get('retry-after')).not.toBeNull();
    expect((await exchange(idToken, own)).status).toBe(503);
    expect(await check(token, own)).toBe('live');
    await postgres.start();
    const until = Date.now() + 10_000;
    let later = await logout(logoutToken, own);
    while (later.status === 503 && Date.now() < until) later = await logout(logoutToken, own);
    expect(later.status).toBe(200);
    expect(await check(token, own)).toBe('idp_logout');
    expect((await exchange(idToken, own)).status).toBe(200);
  });
});
