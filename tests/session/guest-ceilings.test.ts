import { migrate } from '@muster/session-service/postgres/migration-runner';
import { useTestStores } from '@muster/testkit/stores';
import { withClient } from '@muster/testkit/template';
import { until } from '@muster/testkit/wait';
import { expect, test } from 'vitest';
import { type ApiReply, startService, type TestService } from './fixture.ts';

const stores = useTestStores({ migrate });
let started = 0;
/** Each with keys of its own, so that the counters of the tests do not meet. */
const start = (env: NodeJS.ProcessEnv): Promise<TestService> => {
  started += 1;
  const redisPrefix = `${stores.redisPrefix}${started}:`;
  return startService({ databaseUrl: stores.databaseUrl, redisUrl: stores.redisUrl, redisPrefix }, env);
};
const guestFrom = (service: TestService, ip: string, headers: Record<string, string> = {}): Promise<ApiReply> =>
  service.call('POST', '/v1/guest-sessions', {
    json: { transport: 'bearer' },
    headers: { 'x-forwarded-for': ip, ...headers },
  });
const limited = (service: TestService, scope: string) => service.metric(`session_rate_limited_total{scope="${scope}"}`);
const expectRefusal = (answer: ApiReply | undefined): void => {
  expect(answer?.status).toBe(429);
  expect(Number(answer?.headers.get('retry-after'))).toBeGreaterThan(0);
};

test('[GC1] given many addresses of one network, they share a limit', async () => {
  await using service = await start({ GUEST_LIMIT_PER_NETWORK: '8' });
  for (const addressOf of [(n: number) => `2001:db8:7:${n.toString(16)}::1`, (n: number) => `198.51.100.${n}`]) {
    const answers: ApiReply[] = [];
    for (let n = 1; n <= 10; n += 1) answers.push(await guestFrom(service, addressOf(n)));
    expect(answers.slice(0, 8).map(({ status }) => status)).toEqual(Array(8).fill(201));
    for (const answer of answers.slice(8)) expectRefusal(answer);
  }
  expect((await guestFrom(service, '2001:db8:8::1')).status).toBe(201);
  expect((await guestFrom(service, '203.0.113.1')).status).toBe(201);
  expect(await limited(service, 'guest_network')).toBe(4);
  expect(service.log.of('session.guest_refused').slice(0, 1)).toMatchObject([
    { level: 'info', fields: { scope: 'guest_network', key: '2001:db8:7::/48' } },
  ]);
});

test('[GC1] given changing networks, the limit of the tenant applies fleet-wide and logins continue', async () => {
  const env = { GUEST_LIMIT_PER_TENANT: '12', TENANT_HOSTS: 'shop.example.com=shop' };
  await using first = await start(env);
  const redisPrefix = `${stores.redisPrefix}${started}:`;
  const place = { databaseUrl: stores.databaseUrl, redisUrl: stores.redisUrl, redisPrefix };
  await using second = await startService(place, env);
  const answers: ApiReply[] = [];
  for (let n = 1; n <= 16; n += 1) {
    answers.push(await guestFrom(n % 2 === 0 ? first : second, `2001:db8:${n.toString(16)}::1`));
  }
  expect(answers.filter(({ status }) => status === 201)).toHaveLength(12);
  for (const answer of answers.slice(12)) expectRefusal(answer);
  expect((await limited(first, 'guest_tenant')) + (await limited(second, 'guest_tenant'))).toBe(4);
  expect((await first.service('POST', '/v1/sessions', { user_id: 'u' })).status).toBe(201);
});

test('[GC2] given a tenant at its limit of guests, more are refused until some have ended', async () => {
  await withClient(stores.databaseUrl, (client) => client.query('DELETE FROM sessions'));
  await using service = await start({ MAX_GUEST_SESSIONS: '5' });
  const guests: ApiReply[] = [];
  for (let n = 1; n <= 7; n += 1) guests.push(await guestFrom(service, `203.0.${n}.1`));
  expect(guests.map(({ status }) => status)).toEqual([201, 201, 201, 201, 201, 429, 429]);
  for (const answer of guests.slice(5)) expectRefusal(answer);
  expect(await limited(service, 'guest_total')).toBe(2);
  expect((await service.service('POST', '/v1/sessions', { user_id: 'u' })).status).toBe(201);
  const rows = await withClient(
    stores.databaseUrl,
    async (client) => (await client.query('SELECT count(*)::int AS n FROM sessions WHERE user_id IS NULL')).rows,
  );
  expect(rows).toEqual([{ n: 5 }]);
  // A replica that has not counted yet sees the free slot at once; the first replica within ten seconds.
  await service.bearer(guests[0]?.body.token, 'DELETE', '/v1/session');
  await using other = await start({ MAX_GUEST_SESSIONS: '5' });
  expect((await guestFrom(other, '203.1.1.1')).status).toBe(201);
  expectRefusal(await guestFrom(other, '203.1.2.1'));
});

test('[GC3] given ended sessions, those of guests are deleted after hours, those of users after days', async () => {
  await using service = await start({ GUEST_RETENTION_HOURS: '2', SWEEP_INTERVAL_MS: '100' });
  const ended = async (hoursAgo: number, { id }: { id: string }): Promise<string> => {
    await service.service('DELETE', `/v1/sessions/${id}`);
    const text = 'UPDATE sessions SET ended_at = now() - make_interval(hours => $2) WHERE id = $1';
    await withClient(stores.databaseUrl, (client) => client.query(text, [id, hoursAgo]));
    return id;
  };
  const guest = async () => (await guestFrom(service, '203.0.113.9')).body;
  const user = async () => (await service.service('POST', '/v1/sessions', { user_id: 'r' })).body;
  const gone = await ended(3, await guest());
  const kept = [await ended(1, await guest()), await ended(3, await user())];
  await until(async () => (await service.service('GET', `/v1/sessions/${gone}`)).status === 404, {
    what: 'the guest to be deleted',
  });
  for (const id of kept) expect((await service.service('GET', `/v1/sessions/${id}`)).status).toBe(200);
});
