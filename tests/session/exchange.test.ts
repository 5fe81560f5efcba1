import { migrate } from '@muster/session-service/postgres/migration-runner';
import { useTestStores } from '@muster/testkit/stores';
import { withClient } from '@muster/testkit/template';
import { Redis } from 'ioredis';
import { exportJWK, generateKeyPair } from 'jose';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { bodyOf, exchangeAt, newUser, TYPE } from './exchange-fixture.ts';
import { CLIENT_ID, LOGOUT_EVENT, startIssuer, type TestIssuer } from './fake-issuer.ts';
import { cookieOf, ORIGIN, startService, type TestService } from './fixture.ts';

const stores = useTestStores({ migrate });
let stack: AsyncDisposableStack;
let issuer: TestIssuer;
let service: TestService;

const issuersOf = (...more: object[]) =>
  JSON.stringify([{ name: 'acme', issuer: issuer.url, audience: [CLIENT_ID], ...Object.assign({}, ...more) }]);

beforeAll(async () => {
  stack = new AsyncDisposableStack();
  issuer = stack.use(await startIssuer());
  service = stack.use(await startService(stores, { OIDC_ISSUERS: issuersOf(), FAILURE_LIMIT_PER_MINUTE: '100000' }));
});
afterAll(() => stack.disposeAsync());

const exchange = (token: string, more: object = {}, headers: Record<string, string> = {}, at = service) =>
  exchangeAt(at, token, more, headers);
const now = () => Math.floor(Date.now() / 1000);
const b64 = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url');
const sql = (text: string, values: unknown[] = []) =>
  withClient(stores.databaseUrl, async (client) => (await client.query(text, values)).rows);

describe('a valid token', () => {
  test('[EX1] given an ID token, the session has its user and the facts of the login', async () => {
    const time = now() - 100;
    const token = await issuer.idToken({
      claims: { sub: 'ann', sid: 's-1', amr: ['pwd', 'otp'], acr: 'urn:acme:aal:2', auth_time: time },
    });
    const answer = await exchange(token, { label: 'Work laptop', device_id: 'd-1', client_kind: 'desktop' });
    expect(answer.status).toBe(200);
    expect(answer.headers.get('cache-control')).toBe('no-store');
    expect(answer.body).toMatchObject({
      user_id: 'acme|ann',
      kind: 'user',
      tenant: 'default',
      label: 'Work laptop',
      client: { kind: 'desktop', device_id: 'd-1' },
      auth: { aal: 2, amr: ['pwd', 'otp'], idp: issuer.url, time: new Date(time * 1000).toISOString() },
      token_type: 'Bearer',
      issued_token_type: `${TYPE}:access_token`,
    });
    expect(answer.body.expires_in).toBeGreaterThan(3_600);
    expect(answer.body.access_token).toBe(answer.body.token);
    const me = await service.bearer(answer.body.access_token, 'GET', '/v1/session');
    expect(me.body.id).toBe(answer.body.id);
    const [row] = await sql('SELECT idp_sid, idp_sub, policy FROM sessions WHERE id = $1', [answer.body.id]);
    expect(row).toEqual({ idp_sid: 's-1', idp_sub: 'ann', policy: 'aal2' });
  });

  test('[EX1] given no amr, acr and auth_time, the login has level 1 and the current time', async () => {
    const { body } = await exchange(await issuer.idToken({ claims: { sub: newUser(), acr: 'silver' } }));
    expect(body.auth).toMatchObject({ aal: 1, amr: [] });
    expect(Math.abs(Date.parse(body.auth.time) - Date.now())).toBeLessThan(10_000);
  });

  test('[EX1] given a form, the result equals that of JSON, and a browser receives a cookie', async () => {
    const form = new URLSearchParams({
      ...bodyOf(await issuer.idToken({ claims: { sub: newUser() } })),
      transport: 'cookie',
      remember: 'false',
    });
    const answer = await service.call('POST', '/v1/token-exchange', {
      body: form.toString(),
      headers: { 'content-type': 'application/x-www-form-urlencoded', origin: ORIGIN },
    });
    expect(answer.status).toBe(200);
    expect(answer.headers.get('set-cookie')).not.toContain('Max-Age');
    expect(answer.body).not.toHaveProperty('token');
    expect(answer.body).not.toHaveProperty('access_token');
    expect((await service.cookie(cookieOf(answer), 'GET', '/v1/session')).body.id).toBe(answer.body.id);
  });

  test.each(['RS256', 'ES256', 'EdDSA'])('[EX2] given %s, the token is accepted', async (algorithm) => {
    expect((await exchange(await issuer.idToken({ algorithm, claims: { sub: newUser() } }))).status).toBe(200);
  });

  test('[EX3] given a skew of a minute or several audiences, the token is accepted', async () => {
    const claims = { sub: newUser(), iat: now() + 50, nbf: now() + 50, aud: ['other', CLIENT_ID] };
    expect((await exchange(await issuer.idToken({ claims }))).status).toBe(200);
  });

  test('[EX5] given another nonce, the token is refused', async () => {
    const token = await issuer.idToken({ claims: { nonce: 'n-1' } });
    expect((await exchange(token, { nonce: 'n-2' })).body).toMatchObject({ status: 401, reason: 'nonce' });
    expect((await exchange(token, { nonce: 'n-1' })).status).toBe(200);
    const without = await exchange(await issuer.idToken(), { nonce: 'n-1' });
    expect(without.body).toMatchObject({ status: 401, reason: 'nonce' });
  });
});

describe('an invalid token', () => {
  const bad: [string, string, () => Promise<string> | string][] = [
    ['text that is no token', 'malformed', () => 'nonsense'],
    ['three dots of nothing', 'malformed', () => 'a.b.c'],
    ['alg none', 'algorithm', () => unsigned({ alg: 'none', kid: 'key-RS256' })],
    ['HS256 under the public key', 'algorithm', () => hmacWithPublicKey()],
    ['another issuer', 'unknown_issuer', () => issuer.idToken({ claims: { iss: 'https://evil.example' } })],
    ['no issuer', 'unknown_issuer', () => issuer.idToken({ without: ['iss'] })],
    ['an issuer of another spelling', 'unknown_issuer', () => issuer.idToken({ claims: { iss: `${issuer.url}/` } })],
    ['another audience', 'audience', () => issuer.idToken({ claims: { aud: 'somebody-else' } })],
    ['no audience', 'audience', () => issuer.idToken({ without: ['aud'] })],
    ['a token that is over', 'expired', () => issuer.idToken({ claims: { exp: now() - 1 } })],
    ['no expiry', 'claims', () => issuer.idToken({ without: ['exp'] })],
    ['a token of the day before yesterday', 'expired', () => issuer.idToken({ claims: { iat: now() - 172_800 } })],
    ['nbf in the future', 'not_yet', () => issuer.idToken({ claims: { nbf: now() + 120 } })],
    ['iat in the future', 'not_yet', () => issuer.idToken({ claims: { iat: now() + 120 } })],
    ['no iat', 'not_yet', () => issuer.idToken({ without: ['iat'] })],
    ['auth_time in the future', 'claims', () => issuer.idToken({ claims: { auth_time: now() + 120 } })],
    ['no subject', 'claims', () => issuer.idToken({ without: ['sub'] })],
    ['a subject that cannot be kept', 'claims', () => issuer.idToken({ claims: { sub: 'a\0b' } })],
    ['a subject without end', 'claims', () => issuer.idToken({ claims: { sub: 'x'.repeat(256) } })],
    ['a session that is no text', 'claims', () => issuer.idToken({ claims: { sid: { a: 1 } } })],
    ['a missing kid', 'unknown_key', () => issuer.idToken({ header: { kid: undefined } })],
    ['an unknown kid', 'unknown_key', () => foreign({ kid: 'nobody' })],
    ['a kid of another algorithm', 'unknown_key', () => foreign({ kid: 'key-ES256' })],
    ['a foreign key under a known kid', 'signature', () => foreign({ kid: 'key-RS256' })],
    ['a key of its own (jku)', 'signature', () => foreign({ kid: 'key-RS256', jku: `${issuer.url}/evil` })],
    ['a key of its own (x5u)', 'signature', () => foreign({ kid: 'key-RS256', x5u: `${issuer.url}/evil` })],
    ['a key of its own (jwk)', 'signature', () => foreign({ kid: 'key-RS256', jwk: 'own' })],
    ['an unknown critical header', 'algorithm', () => issuer.idToken({ header: { crit: ['x'], x: 1 } })],
    ['an access token', 'type', () => issuer.idToken({ header: { typ: 'at+jwt' } })],
    ['a logout token', 'type', () => issuer.logoutToken()],
    ['a logout token without its type', 'type', () => issuer.logoutToken({ header: { typ: 'JWT' } })],
  ];
  const unsigned = async (header: object) => {
    const [, claims] = (await issuer.idToken()).split('.');
    return `${b64(header)}.${claims}.`;
  };
  const hmacWithPublicKey = () =>
    issuer.idToken({
      algorithm: 'HS256',
      header: { kid: 'key-RS256' },
      key: new TextEncoder().encode(issuer.publicKeyPem()),
    });
  const foreign = async (header: Record<string, unknown>) => {
    const { privateKey, publicKey } = await generateKeyPair('RS256');
    const jwk = header['jwk'] === undefined ? {} : { jwk: await exportJWK(publicKey) };
    return issuer.idToken({ key: privateKey, header: { ...header, ...jwk } });
  };

  test.each(bad)('[EX2] given %s, the token is refused: %s', async (_what, reason, make) => {
    const before = await sql('SELECT count(*) FROM sessions');
    let token: string;
    try {
      token = await make();
    } catch {
      // The library refuses to sign some of these; then they are put together by hand.
      const header = { alg: 'RS256', kid: 'key-RS256', crit: ['x'], x: 1 };
      token = `${b64(header)}.${(await issuer.idToken()).split('.').slice(1).join('.')}`;
    }
    const answer = await exchange(token);
    expect(answer.body).toMatchObject({ status: 401, type: '/problems/invalid-token', reason });
    expect(JSON.stringify(answer.body)).not.toContain(token);
    expect(await sql('SELECT count(*) FROM sessions')).toEqual(before);
  });

  test('[EX2] given any changed part of a token, it is refused', async () => {
    const token = await issuer.idToken();
    for (const at of [5, token.indexOf('.') + 5, token.lastIndexOf('.') + 5]) {
      const changed = token.slice(0, at) + (token[at] === 'A' ? 'B' : 'A') + token.slice(at + 1);
      expect((await exchange(changed)).status).toBe(401);
    }
    expect((await exchange(token)).status).toBe(200);
  });

  test('[EX2] given an access token, it is accepted as a JWT; a logout token is refused', async () => {
    const jwt = { subject_token_type: `${TYPE}:jwt` };
    const accessToken = await issuer.idToken({ header: { typ: 'at+jwt' }, claims: { sub: newUser() } });
    expect((await exchange(accessToken, jwt)).status).toBe(200);
    expect((await exchange(await issuer.logoutToken(), jwt)).body.reason).toBe('type');
    const disguised = await issuer.idToken({ claims: { events: { [LOGOUT_EVENT]: {} } } });
    expect((await exchange(disguised, jwt)).body.reason).toBe('type');
  });
});

describe('single use', () => {
  test('[SE36] [EX4] given a repeat under its key, it receives the same session; with another key the token is used', async () => {
    const sub = newUser();
    const token = await issuer.idToken({ claims: { sub } });
    const keyed = (key: string, more: object = {}) => exchange(token, more, { 'idempotency-key': key });
    const key = 'exchange-0123456789-abc';
    expect((await keyed('short')).status).toBe(422);
    const answers = await Promise.all(Array.from({ length: 5 }, () => keyed(key)));
    expect(answers.map(({ status }) => status)).toEqual(Array(5).fill(200));
    expect(new Set(answers.map(({ body }) => `${body.id} ${body.access_token}`)).size).toBe(1);
    expect(await sql('SELECT 1 FROM sessions WHERE user_id = $1', [answers[0]?.body.user_id])).toHaveLength(1);
    for (const answer of [await exchange(token), await keyed(`${key}-2`), await keyed(key, { label: 'x' })]) {
      expect([answer.status, answer.body.reason]).toEqual([401, 'replayed']);
    }
    await service.bearer(answers[0]?.body.access_token, 'DELETE', '/v1/session');
    expect((await keyed(key)).body.type).toBe('/problems/session-rotated');
    expect((await exchange(token)).body.reason).toBe('replayed');
  });

  test('[EX4] given a token, it opens one session, also concurrently', async () => {
    const token = await issuer.idToken({ claims: { sub: newUser() } });
    const answers = await Promise.all(Array.from({ length: 20 }, () => exchange(token)));
    expect(answers.filter(({ status }) => status === 200)).toHaveLength(1);
    expect(new Set(answers.filter(({ status }) => status !== 200).map(({ body }) => body.reason))).toEqual(
      new Set(['replayed']),
    );
  });

  test('[EX4] given a token with a used jti, or without a jti the same content, it is refused', async () => {
    const claims = { sub: newUser(), jti: crypto.randomUUID() };
    expect((await exchange(await issuer.idToken({ claims }))).status).toBe(200);
    expect((await exchange(await issuer.idToken({ claims: { ...claims, x: 1 } }))).body.reason).toBe('replayed');
    const token = await issuer.idToken({ claims: { sub: newUser() }, without: ['jti'], algorithm: 'ES256' });
    expect((await exchange(token)).status).toBe(200);
    expect((await exchange(token)).body.reason).toBe('replayed');
    expect((await exchange(otherSpelling(token))).status).toBe(401);
  });

  test('[EX4] given a used token, its record expires with it', async () => {
    const redis = new Redis(stores.redisUrl);
    const before = new Set(await redis.keys(`${stores.redisPrefix}j:*`));
    await exchange(await issuer.idToken({ claims: { sub: newUser(), exp: now() + 100 } }));
    const [key] = (await redis.keys(`${stores.redisPrefix}j:*`)).filter((one) => !before.has(one));
    const life = await redis.pttl(key!);
    redis.disconnect();
    expect(life).toBeGreaterThan(95_000);
    expect(life).toBeLessThanOrEqual(161_000);
  });

  test('[EX4] given a failed login, the token stays usable', async () => {
    const sub = newUser();
    const token = await issuer.idToken({ claims: { sub } });
    await service.service('PUT', `/v1/users/${encodeURIComponent(`acme|${sub}`)}`, { disabled: true });
    expect((await exchange(token)).body.type).toBe('/problems/user-disabled');
    await service.service('PUT', `/v1/users/${encodeURIComponent(`acme|${sub}`)}`, { disabled: false });
    expect((await exchange(token)).status).toBe(200);
  });

  /** (r, n − s) signs what (r, s) signs. */
  const otherSpelling = (token: string): string => {
    const ORDER = BigInt('0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551');
    const [header, claims, signature = ''] = token.split('.');
    const bytes = Buffer.from(signature, 'base64url');
    const s = ORDER - BigInt(`0x${bytes.subarray(32).toString('hex')}`);
    const other = Buffer.concat([bytes.subarray(0, 32), Buffer.from(s.toString(16).padStart(64, '0'), 'hex')]);
    return `${header}.${claims}.${other.toString('base64url')}`;
  };
});

describe('callers', () => {
  test('[EX6] given a page of another site or an invalid API key, the exchange is refused', async () => {
    const token = await issuer.idToken({ claims: { sub: newUser() } });
    const evil = await exchange(token, {}, { origin: 'https://evil.example' });
    expect(evil.body.type).toBe('/problems/csrf');
    expect((await exchange(token, {}, { 'sec-fetch-site': 'cross-site' })).status).toBe(403);
    expect((await exchange(token, {}, { authorization: 'Bearer sk_wrong' })).status).toBe(401);
    expect((await exchange(token)).status).toBe(200);
  });

  test('[EX6] given a back end, it may send the address of its user; other callers may not', async () => {
    const facts = { ip: '203.0.113.77', user_agent: 'Mozilla/5.0 (X11; Linux x86_64) Firefox/140.0' };
    const token = await issuer.idToken({ claims: { sub: newUser() } });
    const alone = await exchange(token, facts);
    expect(alone.status).toBe(422);
    expect(alone.body.detail.map((one: { loc: unknown }) => one.loc)).toEqual([
      ['body', 'ip'],
      ['body', 'user_agent'],
    ]);
    const answer = await service.service('POST', '/v1/token-exchange', bodyOf(token, facts));
    expect(answer.body).toMatchObject({ ip: '203.0.113.0/24', client: { user_agent: facts.user_agent } });
  });

  test('[EX6] given a key without the scope or of another tenant, no session is opened', async () => {
    const make = async (more: object) =>
      (await service.service('POST', '/v1/api-keys', { name: 'k', ...more })).body.key as string;
    const reader = await make({ scopes: ['sessions:read'] });
    const stranger = await make({ scopes: ['sessions:create'], tenant: 'other' });
    const token = await issuer.idToken({ claims: { sub: newUser() } });
    for (const key of [reader, stranger]) {
      const answer = await exchange(token, {}, { authorization: `Bearer ${key}` });
      expect(answer.body.type).toBe('/problems/insufficient-scope');
    }
  });

  test('[EX7] given an invalid body in either encoding, the response is 422', async () => {
    const good = bodyOf(await issuer.idToken());
    for (const [name, value] of [
      ['grant_type', 'authorization_code'],
      ['subject_token', ''],
      ['subject_token_type', `${TYPE}:saml2`],
      ['requested_token_type', `${TYPE}:refresh_token`],
      ['transport', 'carrier pigeon'],
      ['remember', 'perhaps'],
      ['user_id', 'root'],
    ]) {
      const body = { ...good, [name!]: value! };
      for (const asked of [
        { json: body },
        {
          body: new URLSearchParams(body).toString(),
          headers: { 'content-type': 'application/x-www-form-urlencoded' },
        },
      ]) {
        const answer = await service.call('POST', '/v1/token-exchange', asked);
        expect([answer.status, answer.body.detail?.[0].loc]).toEqual([422, ['body', name]]);
      }
    }
  });

  test('[EX7] given invalid tokens, they count towards the limit of the address', async () => {
    await using strict = await startService(stores, {
      OIDC_ISSUERS: issuersOf(),
      FAILURE_LIMIT_PER_MINUTE: '5',
    });
    const answers = [];
    for (let tries = 0; tries < 8; tries += 1) answers.push((await exchange('x', {}, {}, strict)).status);
    expect(answers).toEqual([401, 401, 401, 401, 401, 429, 429, 429]);
  });
});
