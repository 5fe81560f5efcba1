import { migrate } from '@muster/session-service/postgres/migration-runner';
import { useTestStores } from '@muster/testkit/stores';
import { until } from '@muster/testkit/wait';
import { Client } from 'pg';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { startService, type TestService } from './fixture.ts';

const stores = useTestStores({ migrate });
const ADDRESS = '203.0.113.77';
let postgres: Client;

beforeAll(async () => {
  postgres = new Client({ connectionString: stores.databaseUrl });
  await postgres.connect();
});
afterAll(() => postgres.end());

const start = (mode: string) => startService(stores, { SESSION_IP_MODE: mode, SWEEP_INTERVAL_MS: '60' });
const open = async (service: TestService, user: string, ip = ADDRESS) =>
  (await service.service('POST', '/v1/sessions', { user_id: user, ip, transport: 'bearer' })).body;
/** Users whose sessions a search by this address or network finds. */
const found = async (service: TestService, ip: string): Promise<string[]> => {
  const { body } = await service.service('GET', `/v1/sessions?ip=${encodeURIComponent(ip)}`);
  return (body.items as { user_id: string }[]).map((one) => one.user_id).toSorted();
};
/** Everything that Postgres keeps of addresses. */
const stored = async (): Promise<(string | null)[]> => {
  const { rows } = await postgres.query<{ ip: string | null }>(
    `SELECT abbrev(created_ip) AS ip FROM sessions UNION SELECT abbrev(last_ip) FROM sessions
     UNION SELECT abbrev(ip) FROM session_events`,
  );
  return rows.map(({ ip }) => ip).filter((ip) => ip !== null);
};
const exportOf = async (service: TestService, user: string) =>
  (await service.service('GET', `/v1/users/${user}/export`)).body as {
    sessions: { ip: string | null }[];
    events: { type: string; ip: string | null }[];
  };

test('[IP1] [IP2] given a mode, it applies to stored, shown and searched addresses, and a stricter mode to old rows', async () => {
  const full = await start('full');
  const ann = await open(full, 'ann');
  expect([ann.ip, ann.last_ip]).toEqual([ADDRESS, ADDRESS]);
  expect((await exportOf(full, 'ann')).sessions[0]?.ip).toBe(ADDRESS);
  expect((await exportOf(full, 'ann')).events[0]?.ip).toBe(ADDRESS);
  expect(await found(full, ADDRESS)).toEqual(['ann']);
  expect(await found(full, '203.0.113.78')).toEqual([]);
  expect(await found(full, '203.0.113.0/24')).toEqual(['ann']);
  // Puts a snapshot with the full address into Redis.
  expect((await full.bearer(ann.token, 'GET', '/v1/session')).body.ip).toBe(ADDRESS);
  await full[Symbol.asyncDispose]();
  expect(await stored()).toContain(ADDRESS);

  const truncated = await start('truncated');
  const bob = await open(truncated, 'bob');
  expect(bob.ip).toBe('203.0.113.0/24');
  await until(stored, { ok: (all) => !all.some((ip) => !ip?.endsWith('/24')), what: 'truncated rows' });
  await until(async () => (await truncated.bearer(ann.token, 'GET', '/v1/session')).body.ip, {
    ok: (ip) => ip === '203.0.113.0/24',
    what: 'a truncated address in the cache',
  });
  expect((await exportOf(truncated, 'ann')).events.every(({ ip }) => ip !== ADDRESS)).toBe(true);
  expect(await found(truncated, '203.0.113.5')).toEqual(['ann', 'bob']);
  await truncated[Symbol.asyncDispose]();

  const hashed = await start('hashed');
  const eve = await open(hashed, 'eve');
  expect(eve.ip).toMatch(/^2001:2[0-9a-f]:/);
  await until(stored, { ok: (all) => all.every((ip) => ip?.startsWith('2001:2')), what: 'pseudonyms' });
  expect(await found(hashed, ADDRESS)).toEqual(['eve']);
  expect(await found(hashed, '203.0.113.78')).toEqual([]);
  await hashed[Symbol.asyncDispose]();

  const none = await start('none');
  expect((await open(none, 'joe')).ip).toBeNull();
  await until(stored, { ok: (all) => all.length === 0, what: 'no address at all' });
  expect(await found(none, ADDRESS)).toEqual([]);
  expect((await exportOf(none, 'eve')).sessions[0]?.ip).toBeNull();
  await none[Symbol.asyncDispose]();
});

test('[IP3] given a locked row, the rewrite skips it and returns to it', async () => {
  const full = await start('full');
  const [held, free] = [await open(full, 'held'), await open(full, 'free')];
  await full[Symbol.asyncDispose]();
  const ipOf = async (id: string) =>
    (await postgres.query<{ ip: string }>('SELECT abbrev(created_ip) AS ip FROM sessions WHERE id = $1', [id])).rows[0]
      ?.ip;
  const holder = new Client({ connectionString: stores.databaseUrl });
  await holder.connect();
  await holder.query('BEGIN');
  await holder.query('SELECT 1 FROM sessions WHERE id = $1 FOR UPDATE', [held.id]);
  await using truncated = await start('truncated');
  const short = { ok: (ip: string | undefined) => ip === '203.0.113.0/24', what: 'a truncated address' };
  await until(() => ipOf(free.id), { ...short, timeoutMs: 1_900 });
  expect(await ipOf(held.id)).toBe(ADDRESS);
  await holder.query('ROLLBACK');
  await holder.end();
  await until(() => ipOf(held.id), short);
  expect((await truncated.service('GET', `/v1/sessions/${held.id}`)).body.ip).toBe('203.0.113.0/24');
});
