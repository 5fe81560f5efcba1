import { migrate } from '@muster/session-service/postgres/migrate';
import { useTestStores } from '@muster/testkit/stores';
import { CookieJar } from 'tough-cookie';
import { expect, test } from 'vitest';
import { startService } from './fixture.ts';

const stores = useTestStores({ migrate });
const APP = 'https://app.example.com';

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
  await using service = await startService(stores, { TRUSTED_PROXIES: '', GUEST_LIMIT_PER_MINUTE: '3' });
  const open = (ip: string) =>
    service.call('POST', '/v1/guest-sessions', { headers: { 'x-forwarded-for': ip } });
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
