import { migrate } from '@muster/session-service/postgres/migration-runner';
import { useTestStores } from '@muster/testkit/stores';
import { sign } from 'cookie-signature';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { cookieOf, SECRETS, startService, type TestService, tokenOf } from './fixture.ts';

const stores = useTestStores({ migrate });
let service: TestService;
let users = 0;
const newUser = () => {
  users += 1;
  return `u_${users}`;
};

beforeAll(async () => {
  service = await startService(stores);
});
afterAll(() => service[Symbol.asyncDispose]());

const login = async (user = newUser(), more: object = {}) => {
  const answer = await service.service('POST', '/v1/sessions', {
    user_id: user,
    transport: 'bearer',
    ...more,
  });
  expect(answer.status).toBe(201);
  return { user, id: answer.body.id as string, token: answer.body.token as string, body: answer.body };
};

describe('a browser', () => {
  test('[SE1] [SE60] given a sign-in, the session is shown and listed, and refused after the sign-out', async () => {
    const opened = await service.service('POST', '/v1/sessions', {
      user_id: 'u_browser',
      transport: 'cookie',
      label: '  Work laptop ',
      user_agent: 'Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0',
      ip: '203.0.113.77',
      data: { cart: [1, 2, { deep: 'ünïcode 🎉' }] },
    });
    expect(opened.status).toBe(201);
    expect(opened.body).toMatchObject({
      user_id: 'u_browser',
      kind: 'user',
      label: 'Work laptop',
      client: { kind: 'web', summary: 'Firefox on Linux' },
      ip: '203.0.113.0/24',
      auth: { aal: 1 },
      data: { cart: [1, 2, { deep: 'ünïcode 🎉' }] },
      rev: 1,
    });
    expect(opened.body.token).toBeUndefined();
    expect(opened.headers.get('location')).toBe(`/v1/sessions/${opened.body.id}`);
    const cookie = cookieOf(opened);

    const me = await service.cookie(cookie, 'GET', '/v1/session');
    expect(me.status).toBe(200);
    expect(me.headers.get('etag')).toBe('"1"');
    expect(me.body).toMatchObject({ id: opened.body.id, current: true, data: opened.body.data });
    const unchanged = await service.cookie(cookie, 'GET', '/v1/session', undefined, {
      'if-none-match': '"1"',
    });
    expect(unchanged.status).toBe(304);

    const list = await service.cookie(cookie, 'GET', '/v1/me/sessions');
    expect(list.body.items).toHaveLength(1);
    expect(list.body.items[0]).toMatchObject({ id: opened.body.id, current: true });
    expect(list.body.items[0].data).toBeUndefined();

    const out = await service.cookie(cookie, 'DELETE', '/v1/session');
    expect(out.status).toBe(204);
    expect(out.headers.get('set-cookie')).toMatch(/^session_id=; Max-Age=0; Path=\/;/);
    const after = await service.cookie(cookie, 'GET', '/v1/session');
    expect(after.status).toBe(401);
    expect(after.headers.get('content-type')).toContain('application/problem+json');
    expect(after.headers.get('www-authenticate')).toBe('Session');
    expect(after.body).toMatchObject({ type: '/problems/session-ended', status: 401, end_reason: 'logout' });
    expect((await service.cookie(cookie, 'DELETE', '/v1/session')).status).toBe(204);
  });

  test('[SE2] given a login, the cookie has the format and signature of express-session', async () => {
    const opened = await service.service('POST', '/v1/sessions', { user_id: newUser(), transport: 'cookie' });
    const header = opened.headers.get('set-cookie') ?? '';
    expect(header).toMatch(/^session_id=s%3A/);
    expect(header).toMatch(/; Path=\/; HttpOnly; SameSite=Lax$/);
    expect(Number(/Max-Age=(\d+)/.exec(header)?.[1])).toBeLessThanOrEqual(34_560_000);
    expect(opened.headers.get('cache-control')).toBe('no-store');
    const token = tokenOf(cookieOf(opened));
    expect(token).toBe(sign(token.slice(0, token.lastIndexOf('.')), SECRETS[0]!));
  });

  test('[SE63] given no remember, the cookie ends with the browser', async () => {
    const opened = await service.service('POST', '/v1/sessions', {
      user_id: newUser(),
      transport: 'cookie',
      remember: false,
    });
    expect(opened.headers.get('set-cookie')).not.toContain('Max-Age');
  });

  test('[SE3] given a token of an older key, it is accepted and signed again', async () => {
    const { token } = await login();
    const content = token.slice(0, token.lastIndexOf('.'));
    const old = sign(content, SECRETS[1]!);
    const answer = await service.cookie(`session_id=${encodeURIComponent(`s:${old}`)}`, 'GET', '/v1/session');
    expect(answer.status).toBe(200);
    expect(tokenOf(cookieOf(answer))).toBe(token);
    expect(await service.metric('session_token_verified_total{key="1"}')).toBeGreaterThan(0);
  });

  test('[SE4] given malformed, forged and repeated cookies before it, a live cookie is used, after at most four look-ups', async () => {
    const { token } = await login();
    const good = `session_id=${encodeURIComponent(`s:${token}`)}`;
    expect((await service.cookie(`session_id=garbage; ${good}`, 'GET', '/v1/session')).status).toBe(200);
    expect((await service.cookie(`${good}; session_id=garbage`, 'GET', '/v1/session')).status).toBe(200);
    const status = async (...cookies: string[]) =>
      (await service.cookie([...cookies, good].join('; '), 'GET', '/v1/session')).status;
    const forged = Array.from({ length: 20 }, (_, n) => `${good.slice(0, -4)}${1000 + n}`);
    expect(await status(...Array.from({ length: 20 }, (_, n) => `session_id=${n}`), ...forged)).toBe(200);
    const dead: string[] = [];
    for (let n = 0; n < 4; n += 1) {
      const ended = await login();
      await service.bearer(ended.token, 'DELETE', '/v1/session');
      dead.push(`session_id=${encodeURIComponent(`s:${ended.token}`)}`);
    }
    const [first = ''] = dead;
    expect(await status(first, first, first, first, first)).toBe(200);
    expect(await status(...dead.slice(1), ...forged.slice(0, 5))).toBe(200);
    expect(await status(...dead)).toBe(401);
    expect(await status(...Array.from({ length: 64 }, () => 'session_id=x'))).toBe(401);
  });

  test('[SE65] given a cookie and a bearer token of different sessions, the response is 400', async () => {
    const one = await login();
    const other = await login();
    const answer = await service.bearer(one.token, 'GET', '/v1/session', undefined, {
      cookie: `session_id=s:${encodeURIComponent(other.token)}`,
    });
    expect(answer.status).toBe(400);
    expect(answer.body.type).toBe('/problems/malformed-request');
  });
});

describe('several devices of one user', () => {
  test('[SE5] [SE68] given own and foreign sessions, a user ends own sessions only', async () => {
    const user = newUser();
    const phone = await login(user, { client: { kind: 'ios', device_id: 'd1' } });
    const laptop = await login(user);
    const stranger = await login();
    const list = await service.bearer(phone.token, 'GET', '/v1/me/sessions');
    expect(list.body.items.map((one: { id: string }) => one.id)).toEqual([laptop.id, phone.id]);
    for (const id of [stranger.id, '3f1f0c55-3d9b-4a53-9d1a-000000000000']) {
      expect((await service.bearer(phone.token, 'DELETE', `/v1/me/sessions/${id}`)).status).toBe(404);
    }
    expect((await service.bearer(phone.token, 'DELETE', `/v1/me/sessions/${laptop.id}`)).status).toBe(204);
    expect((await service.bearer(phone.token, 'DELETE', `/v1/me/sessions/${laptop.id}`)).status).toBe(204);
    const refused = await service.bearer(laptop.token, 'GET', '/v1/session');
    expect(refused.body).toMatchObject({ type: '/problems/session-ended', end_reason: 'revoked' });
    expect((await service.bearer(stranger.token, 'GET', '/v1/session')).status).toBe(200);
    const ended = await service.bearer(phone.token, 'GET', '/v1/me/sessions?state=ended');
    expect(ended.body.items).toMatchObject([{ id: laptop.id, end_reason: 'revoked' }]);
  });

  test('[SE5] when a user ends all others or all, these end', async () => {
    const user = newUser();
    const own = await login(user);
    const others = await Promise.all([login(user), login(user)]);
    const result = await service.bearer(own.token, 'DELETE', '/v1/me/sessions?except=current');
    expect(result.body).toEqual({ ended: 2, propagation: 'done' });
    for (const { token } of others) {
      expect((await service.bearer(token, 'GET', '/v1/session')).body.end_reason).toBe('revoked_others');
    }
    expect((await service.bearer(own.token, 'GET', '/v1/session')).status).toBe(200);
    expect((await service.bearer(own.token, 'DELETE', '/v1/me/sessions?all=true')).body.ended).toBe(1);
    expect((await service.bearer(own.token, 'GET', '/v1/session')).status).toBe(401);
  });

  test('[SE6] given sessions of equal instants, pages neither skip nor repeat', async () => {
    const user = newUser();
    const first = await login(user);
    const ids = new Set([first.id]);
    for (let n = 0; n < 6; n += 1) ids.add((await login(user)).id);
    const seen: string[] = [];
    let cursor: string | null = null;
    do {
      const query = cursor === null ? '' : `&cursor=${cursor}`;
      const answer = await service.bearer(first.token, 'GET', `/v1/me/sessions?limit=2${query}`);
      expect(answer.status).toBe(200);
      seen.push(...answer.body.items.map((one: { id: string }) => one.id));
      cursor = answer.body.next;
    } while (cursor !== null);
    expect(seen).toHaveLength(7);
    expect(new Set(seen)).toEqual(ids);
  });

  test('[SE69] given a modified cursor or another list, it is refused', async () => {
    const user = newUser();
    const { token } = await login(user);
    await login(user);
    const { body } = await service.bearer(token, 'GET', '/v1/me/sessions?limit=1');
    const stranger = await login();
    const tampered = `A${body.next.slice(1)}`;
    const attempts: [string, string][] = [
      [token, `cursor=${tampered}`],
      [token, `cursor=${body.next}&state=all`],
      [stranger.token, `cursor=${body.next}`],
      [token, 'cursor=x'],
    ];
    for (const [who, query] of attempts) {
      const answer = await service.bearer(who, 'GET', `/v1/me/sessions?${query}`);
      expect(answer.status).toBe(400);
      expect(answer.body.type).toBe('/problems/invalid-cursor');
    }
  });
});

describe('a back end', () => {
  test('[SE7] when a back end reads or ends a session by id, it can', async () => {
    const { id, token } = await login();
    const read = await service.service('GET', `/v1/sessions/${id}`);
    expect(read.body).toMatchObject({ id, current: false, data: {} });
    expect(JSON.stringify(read.body)).not.toMatch(/hash|secret/i);
    expect((await service.service('DELETE', `/v1/sessions/${id}?reason=admin`)).status).toBe(204);
    expect((await service.service('DELETE', `/v1/sessions/${id}`)).status).toBe(204);
    expect((await service.bearer(token, 'GET', '/v1/session')).body.end_reason).toBe('admin');
    expect((await service.service('GET', `/v1/sessions/${id}`)).body.end_reason).toBe('admin');
    const nobody = '3f1f0c55-3d9b-4a53-9d1a-000000000000';
    expect((await service.service('GET', `/v1/sessions/${nobody}`)).status).toBe(404);
    expect((await service.service('DELETE', `/v1/sessions/${nobody}`)).status).toBe(204);
  });

  test('[SE8] given no valid key, the response is 401 whatever the body', async () => {
    for (const headers of [{}, { authorization: 'Bearer sk_wrong' }, { authorization: 'Basic x' }]) {
      const answer = await service.call('POST', '/v1/sessions', { json: { nonsense: true }, headers });
      expect(answer.status).toBe(401);
      expect(answer.body.type).toBe('/problems/invalid-key');
    }
  });

  test('[SE9] given a policy, it sets the limits', async () => {
    const span = (body: { expires_at: string; created_at: string }) =>
      Math.round((Date.parse(body.expires_at) - Date.parse(body.created_at)) / 1000);
    expect(span((await login()).body)).toBe(30 * 86_400);
    expect(span((await login(undefined, { remember: false })).body)).toBe(86_400);
    expect(span((await login(undefined, { auth: { aal: 2, amr: ['pwd', 'otp'] } })).body)).toBe(12 * 3600);
    const machine = await login(undefined, { policy: 'service' });
    expect(machine.body).toMatchObject({ kind: 'service', idle_expires_at: null });
  });
});

describe('a guest', () => {
  test('[SE10] when a guest session is opened, it has a cookie or a token', async () => {
    const opened = await service.call('POST', '/v1/guest-sessions');
    expect(opened.status).toBe(201);
    expect(opened.body).toMatchObject({ kind: 'guest', user_id: null, auth: { aal: 0 } });
    const me = await service.cookie(cookieOf(opened), 'GET', '/v1/session');
    expect(me.body).toMatchObject({ id: opened.body.id, current: true });
    const list = await service.cookie(cookieOf(opened), 'GET', '/v1/me/sessions');
    expect(list.body.items).toHaveLength(1);
    const bearer = await service.call('POST', '/v1/guest-sessions', { json: { transport: 'bearer' } });
    expect(bearer.headers.get('set-cookie')).toBeNull();
    expect((await service.bearer(bearer.body.token, 'GET', '/v1/session')).status).toBe(200);
  });

  test('[SE10] given many guest sessions of an address or an IPv6 /64, they are limited', async () => {
    const from = (ip: string) => service.call('POST', '/v1/guest-sessions', { headers: { 'x-forwarded-for': ip } });
    const answers = [];
    for (let n = 0; n < 61; n += 1) answers.push(await from(`2001:db8:1:1::${n.toString(16)}`));
    expect(answers.filter(({ status }) => status === 201)).toHaveLength(60);
    const last = answers.at(-1)!;
    expect(last.status).toBe(429);
    expect(Number(last.headers.get('retry-after'))).toBeGreaterThan(0);
    expect(last.headers.get('ratelimit')).toMatch(/^"ip";r=0;t=\d+$/);
    expect((await from('2001:db8:1:2::1')).status).toBe(201);
  });

  test('[SE10] given a page of another site, it cannot open a guest session', async () => {
    for (const headers of [
      { 'sec-fetch-site': 'cross-site' },
      { origin: 'https://evil.example' },
      { origin: 'null' },
    ]) {
      expect((await service.call('POST', '/v1/guest-sessions', { headers })).status).toBe(403);
    }
  });
});

test('[SE11] when a gateway checks many ids, it receives their states in order', async () => {
  const live = await login();
  const over = await login();
  await service.service('DELETE', `/v1/sessions/${over.id}`);
  const nobody = '3f1f0c55-3d9b-4a53-9d1a-000000000000';
  const answer = await service.internal('POST', '/internal/sessions/check', {
    ids: [live.id, over.id, nobody],
  });
  expect(answer.status).toBe(200);
  expect(answer.body.sessions).toMatchObject([
    { id: live.id, state: 'live', snapshot: { id: live.id, userId: live.user, rev: 1 } },
    { id: over.id, state: 'ended', reason: 'admin' },
    { id: nobody, state: 'unknown' },
  ]);
  const ended = await service.internal('GET', '/internal/ended?since=60');
  expect(ended.body.sessions).toContainEqual(expect.objectContaining({ id: over.id, why: 'admin' }));
  expect((await service.call('POST', '/internal/sessions/check', { json: { ids: [] } })).status).toBe(404);
  const keyless = await fetch(`${service.opsUrl}/internal/ended`);
  expect(keyless.status).toBe(401);
  await keyless.text();
});
