import { migrate } from '@muster/session-service/postgres/migration-runner';
import { useTestStores } from '@muster/testkit/stores';
import { withClient } from '@muster/testkit/template';
import { sign } from 'cookie-signature';
import { CookieJar } from 'tough-cookie';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { cookieOf, SECRETS, startService, type TestService, tokenOf } from './fixture.ts';

const APP = 'https://app.example.com';
const NOBODY = '3f1f0c55-3d9b-4a53-9d1a-000000000000';
const stores = useTestStores({ migrate });
let stack: AsyncDisposableStack;
let service: TestService;

beforeAll(async () => {
  stack = new AsyncDisposableStack();
  service = stack.use(await startService(stores, { PUBLIC_URL: APP, GUEST_LIMIT_PER_MINUTE: '1000' }));
});
afterAll(() => stack.disposeAsync());

const open = (more: object = {}, headers: Record<string, string> = {}) =>
  service.service('POST', '/v1/sessions', { user_id: 'u_1', transport: 'cookie', ...more }, headers);
const read = (headers: Record<string, string>) => service.call('GET', '/v1/session', { headers });

describe('over https', () => {
  test('[SE2] given a login, the cookie has exactly its attributes', async () => {
    const answer = await open();
    const header = answer.headers.get('set-cookie') ?? '';
    const [, ...attributes] = header.split('; ');
    const age = attributes.find((one) => one.startsWith('Max-Age=')) ?? '';
    expect(attributes.toSorted()).toEqual(['HttpOnly', age, 'Path=/', 'SameSite=Lax', 'Secure'].toSorted());
    expect(header).toMatch(/^__Host-session_id=s%3A/);
    expect(Number(age.slice('Max-Age='.length))).toBeLessThanOrEqual(34_560_000);
    expect(Buffer.byteLength(header)).toBeLessThanOrEqual(4096);
    expect(answer.headers.get('cache-control')).toBe('no-store');
  });

  test('[SE64] given any limit, a cookie never outlives its session, also after a new signature', async () => {
    for (const more of [{}, { auth: { aal: 2, amr: ['otp'] } }]) {
      const answer = await open(more);
      const left = (Date.parse(answer.body.expires_at) - Date.now()) / 1000;
      const ageOf = ({ headers }: { headers: Headers }) =>
        Number(/Max-Age=(\d+)/.exec(headers.get('set-cookie') ?? '')?.[1]);
      expect(ageOf(answer)).toBeLessThanOrEqual(left + 2);
      expect(ageOf(answer)).toBeGreaterThan(left - 60);
      const token = tokenOf(cookieOf(answer));
      const old = sign(token.slice(0, token.lastIndexOf('.')), SECRETS[1]!);
      const again = await read({ cookie: `__Host-session_id=${encodeURIComponent(`s:${old}`)}` });
      expect(tokenOf(cookieOf(again))).toBe(token);
      expect(ageOf(again)).toBeLessThanOrEqual(left + 2);
    }
  });

  test('[SE4] given cookies with similar names, they are ignored', async () => {
    const value = cookieOf(await open()).split('=')[1];
    for (const name of ['__HOST-session_id', '__host-session_id', '__Host-Session_Id', 'session_id', 'sid']) {
      const answer = await read({ cookie: `${name}=${value}` });
      expect(answer.body.type).toBe('/problems/no-session');
    }
    for (const name of ['__proto__', 'constructor', 'hasOwnProperty']) {
      expect((await read({ cookie: `${name}=${value}` })).body.type).toBe('/problems/no-session');
    }
    expect(({} as Record<string, unknown>)['polluted']).toBeUndefined();
    expect((await read({ cookie: `__Host-session_id=${value}` })).status).toBe(200);
  });

  test('[SE1] when a browser signs out, its cookie is cleared', async () => {
    const jar = new CookieJar(undefined, { prefixSecurity: 'strict' });
    const answer = await open();
    await jar.setCookie(answer.headers.get('set-cookie') ?? '', APP);
    expect(await jar.getCookies(APP)).toHaveLength(1);
    expect(await jar.getCookieString('http://app.example.com')).toBe('');
    expect(await jar.getCookieString('https://www.app.example.com')).toBe('');
    const out = await service.call('DELETE', '/v1/session', {
      headers: { cookie: await jar.getCookieString(APP), origin: APP },
    });
    expect(out.status).toBe(204);
    await jar.setCookie(out.headers.get('set-cookie') ?? '', APP);
    expect(await jar.getCookies(APP)).toEqual([]);
  });

  test('[SE2] given a forwarded header of a client, the cookie stays secure', async () => {
    await using direct = await startService(stores, { PUBLIC_URL: APP, TRUSTED_PROXIES: '' });
    for (const at of [service, direct]) {
      const answer = await at.call('POST', '/v1/guest-sessions', {
        headers: { 'x-forwarded-proto': 'http', 'x-forwarded-host': 'evil.example' },
      });
      expect(answer.status).toBe(201);
      expect(answer.headers.get('set-cookie')).toMatch(/^__Host-.*; Secure/);
    }
  });

  test('[SE66] given a token in a form or a query, it is ignored', async () => {
    const { body } = await service.service('POST', '/v1/sessions', { user_id: 'u_1' });
    const form = new URLSearchParams({ token: body.token, session_id: `s:${body.token}` }).toString();
    for (const path of ['/v1/session', `/v1/session?token=${body.token}&access_token=${body.token}`]) {
      const answer = await service.call('DELETE', path, {
        body: form,
        headers: { 'content-type': 'application/x-www-form-urlencoded', origin: APP },
      });
      expect(answer.status).toBe(401);
    }
    expect((await service.bearer(body.token, 'GET', '/v1/session')).status).toBe(200);
  });
});

describe('forwarded addresses', () => {
  const guestFrom = async (at: TestService, forwarded: string): Promise<string> => {
    const { body } = await at.call('POST', '/v1/guest-sessions', {
      headers: { 'x-forwarded-for': forwarded },
    });
    return body.ip;
  };

  test('[SE10] given a forwarded address, only the last part from a trusted proxy counts', async () => {
    await using direct = await startService(stores, { TRUSTED_PROXIES: '10.0.0.1' });
    expect(await guestFrom(direct, '203.0.113.9')).toBe('127.0.0.0/24');
    expect(await guestFrom(service, '1.1.1.1, evil, 203.0.113.9')).toBe('203.0.113.0/24');
    expect(await guestFrom(service, '1.1.1.1, 203.0.113.9, 127.0.0.1')).toBe('203.0.113.0/24');
    expect(await guestFrom(service, '::ffff:203.0.113.9')).toBe('203.0.113.0/24');
    expect(await guestFrom(service, '2001:db8:1:2::9')).toBe('2001:db8:1::/48');
  });

  test('[SE10] given a forwarded text that is not an address, it is ignored without an error', async () => {
    for (const text of ['evil', "1.1.1.1'; DROP TABLE sessions", '0x7f.1', '999.1.1.1', ',', '1.2.3.4:80']) {
      const answer = await service.call('POST', '/v1/guest-sessions', {
        headers: { 'x-forwarded-for': text },
      });
      expect([201, 429]).toContain(answer.status);
      expect(answer.body.ip ?? null).not.toBe(text);
    }
  });
});

describe('pages of other sites', () => {
  test('[SE15] given other spellings of an allowed origin, they are refused', async () => {
    const cookie = cookieOf(await open());
    const attempt = (origin: string) =>
      service.call('DELETE', `/v1/me/sessions/${NOBODY}`, { headers: { cookie, origin } });
    for (const origin of [
      `${APP}.evil.tld`,
      'https://evilapp.example.com',
      'https://sub.app.example.com',
      'https://example.com',
      `${APP}:444`,
      `${APP}:443`,
      'http://app.example.com',
      'https://APP.example.com',
      `${APP}.`,
      `${APP}/`,
      `${APP}@evil.example`,
      `https://evil.example#${APP}`,
      'https://xn--pp-7ka.example.com',
      'null',
      '',
    ]) {
      expect({ origin, status: (await attempt(origin)).status }).toEqual({ origin, status: 403 });
    }
    expect((await attempt(APP)).status).toBe(404);
  });

  test('[SE15] given any changing method, fetch metadata is checked before Origin', async () => {
    const cookie = cookieOf(await open());
    const changes: [string, string, object | undefined][] = [
      ['POST', '/v1/session/rotate', undefined],
      ['PATCH', '/v1/session', { label: 'x' }],
      ['DELETE', '/v1/session', undefined],
      ['DELETE', '/v1/me/sessions?all=true', undefined],
      ['POST', '/v1/session/ws-ticket', {}],
    ];
    for (const [method, path, json] of changes) {
      for (const headers of [
        { 'sec-fetch-site': 'cross-site', origin: APP },
        { 'sec-fetch-site': 'same-site', origin: 'https://other.example.com' },
        { 'sec-fetch-site': 'none' },
        { origin: 'https://evil.example' },
        { origin: 'null' },
        {},
      ] as Record<string, string>[]) {
        const answer = await service.call(method, path, {
          headers: { cookie, ...headers },
          ...(json === undefined ? {} : { json }),
        });
        expect({ method, path, status: answer.status }).toEqual({ method, path, status: 403 });
        expect(answer.body.type).toBe('/problems/csrf');
      }
    }
    expect((await read({ cookie })).body).toMatchObject({ label: null, rev: 1 });
  });

  test('[SE15] given a listed origin, it is compared exactly', async () => {
    await expect(startService(stores, { ALLOWED_ORIGINS: 'https://*.example.com/' })).rejects.toThrow(
      /ALLOWED_ORIGINS/,
    );
    await using literal = await startService(stores, {
      PUBLIC_URL: APP,
      ALLOWED_ORIGINS: `${APP},https://admin.example.com`,
    });
    const cookie = cookieOf(await open());
    const attempt = async (origin: string) =>
      (await literal.call('DELETE', `/v1/me/sessions/${NOBODY}`, { headers: { cookie, origin } })).status;
    expect(await attempt('https://admin.example.com')).toBe(404);
    expect(await attempt('https://example.com')).toBe(403);
    expect(await attempt('https://a.admin.example.com')).toBe(403);
  });

  test('[SE72] given override headers and parameters, a GET stays a GET', async () => {
    const { body } = await service.service('POST', '/v1/sessions', { user_id: 'u_over' });
    const headers = {
      'x-http-method-override': 'DELETE',
      'x-http-method': 'DELETE',
      'x-method-override': 'DELETE',
    };
    const rows = () =>
      withClient(stores.databaseUrl, async (client) =>
        JSON.stringify((await client.query(`SELECT id, rev, xmin::text FROM sessions WHERE user_id = 'u_over'`)).rows),
      );
    const before = await rows();
    for (const method of ['GET', 'HEAD']) {
      const answer = await service.bearer(body.token, method, '/v1/session?_method=DELETE', undefined, headers);
      expect([200, 422]).toContain(answer.status);
    }
    expect(await rows()).toBe(before);
    expect((await service.bearer(body.token, 'GET', '/v1/session')).status).toBe(200);
  });

  test('[SE13] given text with line breaks, no header is split', async () => {
    const split = 'x\r\nSet-Cookie: a=1';
    const answer = await open({ label: split, user_agent: split });
    expect(answer.headers.getSetCookie()).toHaveLength(1);
    const reason = await service.service('DELETE', `/v1/sessions/${NOBODY}?reason=${encodeURIComponent(split)}`);
    expect(reason.status).toBe(422);
    expect(reason.headers.get('set-cookie')).toBeNull();
    const id = await service.call('GET', '/livez', { headers: { 'x-request-id': 'a b<c>' } });
    expect(id.headers.get('x-request-id') ?? '').not.toContain('<');
  });
});

test.each([
  ['off', '; Secure; SameSite=Lax'],
  ['on', '; Secure; Partitioned; SameSite=None'],
])(
  '[SE2] given https, the cookie is host-only and secure, and sign-out removes it (embed %s)',
  async (embed, flags) => {
    await using service = await startService(stores, { PUBLIC_URL: APP, COOKIE_EMBED: embed });
    const opened = await service.service('POST', '/v1/sessions', { user_id: 'u_1', transport: 'cookie' });
    const header = opened.headers.get('set-cookie')!;
    expect(header).toMatch(/^__Host-session_id=s%3A/);
    expect(header).toContain(flags);
    expect(header).toContain('; Path=/; HttpOnly');
    expect(header).not.toContain('Domain');
    expect(header.length).toBeLessThan(4096);
    expect(opened.headers.get('cache-control')).toBe('no-store');
    const jar = new CookieJar();
    await jar.setCookie(header, `${APP}/v1/sessions`);
    expect(await jar.getCookieString('https://ws.example.com/')).toBe('');
    const sent = await jar.getCookieString(`${APP}/v1/session`);
    const me = await service.call('GET', '/v1/session', { headers: { cookie: sent } });
    expect(me.status).toBe(200);
    const out = await service.call('DELETE', '/v1/session?clear=site-data', {
      headers: { cookie: sent, origin: APP },
    });
    expect(out.status).toBe(204);
    expect(out.headers.get('clear-site-data')).toBe('"cookies"');
    const cleared = out.headers.get('set-cookie')!;
    expect(cleared).toContain(flags);
    await jar.setCookie(cleared, `${APP}/v1/session`);
    expect(await jar.getCookieString(`${APP}/v1/session`)).toBe('');
  },
);

test('[SE10] given no trusted proxy, forwarded addresses are ignored', async () => {
  await using service = await startService(
    { ...stores, redisPrefix: 'untrusted:' },
    { TRUSTED_PROXIES: '', GUEST_LIMIT_PER_MINUTE: '3' },
  );
  const open = (ip: string) => service.call('POST', '/v1/guest-sessions', { headers: { 'x-forwarded-for': ip } });
  const answers = [];
  for (let n = 1; n <= 4; n += 1) answers.push(await open(`203.0.113.${n}`));
  expect(answers.map(({ status }) => status)).toEqual([201, 201, 201, 429]);
  expect(answers[0]!.body.ip).toBe('127.0.0.0/24');
});

test('[SE1] given a complete session, every session metric is present', async () => {
  await using service = await startService(stores, { SWEEP_INTERVAL_MS: '100' });
  const { body } = await service.service('POST', '/v1/sessions', { user_id: 'u_2' });
  await service.bearer(body.token, 'GET', '/v1/session');
  await service.bearer(body.token, 'DELETE', '/v1/session');
  await new Promise((resolve) => setTimeout(resolve, 300));
  for (const name of [
    'session_created_total{method="user"}',
    'session_validations_total{result="valid",source="redis"}',
    'session_cache_requests_total{result="hit"}',
    'session_revoked_total{reason="logout"}',
    'session_revocation_propagation_seconds_count',
    'session_sweeper_last_success_timestamp_seconds',
  ]) {
    expect([name, (await service.metric(name)) > 0]).toEqual([name, true]);
  }
});
