import { migrate } from '@muster/session-service/postgres/migration-runner';
import { useTestStores } from '@muster/testkit/stores';
import { withClient } from '@muster/testkit/template';
import { until } from '@muster/testkit/wait';
import { Client } from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { startService, type TestService } from './fixture.ts';

const stores = useTestStores({ migrate });
let service: TestService;

beforeAll(async () => {
  service = await startService(stores);
});
afterAll(() => service[Symbol.asyncDispose]());

const sql = (text: string, values: unknown[] = []) =>
  withClient(stores.databaseUrl, async (client) => (await client.query(text, values)).rows);
const login = async (user: string, more: object = {}) =>
  (await service.service('POST', '/v1/sessions', { user_id: user, ...more })).body as {
    id: string;
    token: string;
  };
const check = (token: string) => service.bearer(token, 'GET', '/v1/session');
const search = async (query: string) => {
  const answer = await service.service('GET', `/v1/sessions?${query}`);
  expect(answer.status).toBe(200);
  return answer.body.items.map((one: { id: string }) => one.id) as string[];
};

describe('search and ends', () => {
  test('[SE37] given a filter, it matches literally', async () => {
    const one = await login('s_1', {
      label: '100% mine_\\',
      ip: '198.51.100.7',
      user_agent: 'curl/8.9',
      client: { kind: 'cli', device_id: 'dev-1' },
      auth: { idp: 'https://idp', idp_sid: 'sid-1', idp_sub: 'sub-1' },
    });
    const other = await login('s_2', { label: 'laptop' });
    await service.service('DELETE', `/v1/sessions/${other.id}`);
    expect(await search('user_id=s_1')).toEqual([one.id]);
    expect(await search('user_id=s_2')).toEqual([]);
    expect(await search('user_id=s_2&state=ended')).toEqual([other.id]);
    expect(await search('ip=198.51.100.0/24')).toEqual([one.id]);
    expect(await search('ip=198.51.100.200')).toEqual([one.id]);
    expect(await search('ip=198.51.101.0/24')).toEqual([]);
    expect(await search('device_id=dev-1&client=cli')).toEqual([one.id]);
    for (const q of ['%25', '_', '%5C', 'MINE', 'curl']) expect(await search(`q=${q}`)).toEqual([one.id]);
    expect(await search(`q=${encodeURIComponent("'; DROP TABLE sessions; --")}`)).toEqual([]);
    expect(await search('idp=https://idp&idp_sid=sid-1&idp_sub=sub-1')).toEqual([one.id]);
    expect(await search('user_id=s_1&created_from=2100-01-01T00:00:00Z')).toEqual([]);
    expect(await search('user_id=s_1&created_to=2100-01-01T00:00:00Z')).toEqual([one.id]);
    expect(await search('user_id=s_1&seen_before=2000-01-01T00:00:00Z')).toEqual([]);
    expect(await search('tenant=other')).toEqual([]);
    for (const bad of ['ip=nowhere', 'created_from=x', 'unknown=1', 'state=dead', 'q=']) {
      expect((await service.service('GET', `/v1/sessions?${bad}`)).status).toBe(422);
    }
    expect((await service.service('GET', '/v1/sessions?ip=1.2.3.4.5')).status).toBe(422);
  });

  test('[SE37] given a search, it has pages and its cursors are valid for it only', async () => {
    const ids = new Set<string>();
    for (let n = 0; n < 5; n += 1) ids.add((await login('s_pages')).id);
    const first = await service.service('GET', '/v1/sessions?user_id=s_pages&limit=3');
    expect(first.headers.get('link')).toContain('rel="next"');
    const second = await service.service('GET', `/v1/sessions?user_id=s_pages&limit=3&cursor=${first.body.next}`);
    const seen = [...first.body.items, ...second.body.items].map(({ id }: { id: string }) => id);
    expect(new Set(seen)).toEqual(ids);
    expect(seen).toHaveLength(5);
    expect((await service.service('GET', `/v1/sessions?user_id=s_1&cursor=${first.body.next}`)).status).toBe(400);
  });

  const end = (json: object) => service.service('POST', '/v1/sessions/end', json);

  test('[SE38] when sessions are ended by ids, filter, user or all, each ends once', async () => {
    const sessions = [];
    for (let n = 0; n < 6; n += 1) sessions.push(await login('e_1', { label: n < 2 ? 'old' : 'new' }));
    const ids = sessions.slice(4).map(({ id }) => id);
    expect((await end({ ids })).body).toEqual({ processed: 2, more: false, propagation: 'done' });
    expect((await end({ ids })).body.processed).toBe(0);
    expect((await end({ filter: { user_id: 'e_1', q: 'old' }, reason: 'revoked' })).body.processed).toBe(2);
    expect((await check(sessions[0]!.token)).body.end_reason).toBe('revoked');
    const rest = await service.service('DELETE', `/v1/users/e_1/sessions?except=${sessions[3]!.id}`);
    expect(rest.body).toEqual({ ended: 1, propagation: 'done' });
    expect((await check(sessions[3]!.token)).status).toBe(200);
    const listed = await service.service('GET', '/v1/users/e_1/sessions?state=all');
    expect(listed.body.items).toHaveLength(6);
    await login('t_1', { tenant: 'acme' });
    expect((await end({ all: true, confirm: '*', tenant: 'acme' })).body).toMatchObject({
      processed: 1,
      more: false,
    });
    const events = await sql(
      `SELECT 1 FROM session_events WHERE user_id = 'e_1' AND type = 'session.ended' GROUP BY session_id HAVING count(*) > 1`,
    );
    expect(events).toEqual([]);
  });

  test('[SE38] given an ambiguous request, no session ends', async () => {
    const { id, token } = await login('e_2');
    for (const body of [
      {},
      { ids: [] },
      { ids: Array.from({ length: 501 }, () => id) },
      { filter: {} },
      { all: true },
      { all: true, confirm: 'yes' },
      { ids: [id], all: true, confirm: '*' },
      { ids: ['x'] },
    ]) {
      expect((await end(body)).status).toBe(422);
    }
    expect((await check(token)).status).toBe(200);
  });

  test('[SE38] given more than a batch, repeated calls end all', async () => {
    await sql(`INSERT INTO sessions (id, tenant_id, user_id, kind, policy, transport, secret_hash, idle_seconds, expires_at, idle_check_at)
      SELECT gen_random_uuid(), 'many', 'u', 'user', 'standard', 'bearer', decode(repeat('00', 32), 'hex'), 1000, now() + interval '1 day', now() + interval '1 day'
      FROM generate_series(1, 1200)`);
    const counts = [];
    for (let more = true; more; ) {
      const { body } = await end({ filter: { user_id: 'u' }, tenant: 'many' });
      counts.push(body.processed);
      more = body.more;
    }
    expect(counts).toEqual([500, 500, 200]);
  });
});

describe('users', () => {
  test('[SE39] given a limit of one, or a disabled and enabled user, the rules apply', async () => {
    const set = await service.service('PUT', '/v1/users/l_1', { max_sessions: 1, at_limit: 'reject' });
    expect(set.body).toMatchObject({ max_sessions: 1, at_limit: 'reject', disabled: false, ended: 0 });
    const { token } = await login('l_1');
    expect((await service.service('POST', '/v1/sessions', { user_id: 'l_1' })).status).toBe(409);
    const off = await service.service('PUT', '/v1/users/l_1', { disabled: true });
    expect(off.body).toMatchObject({ max_sessions: 1, disabled: true, ended: 1 });
    expect((await check(token)).body.end_reason).toBe('user_disabled');
    expect((await service.service('POST', '/v1/sessions', { user_id: 'l_1' })).body.type).toBe(
      '/problems/user-disabled',
    );
    const on = await service.service('PUT', '/v1/users/l_1', { disabled: false, max_sessions: null });
    expect(on.body).toMatchObject({ max_sessions: null, at_limit: 'reject', disabled: false });
    expect((await service.service('POST', '/v1/sessions', { user_id: 'l_1' })).status).toBe(201);
    const odd = encodeURIComponent('weird/ü?#id');
    expect((await service.service('PUT', `/v1/users/${odd}`, { max_sessions: 2 })).status).toBe(200);
    const { body } = await service.service('GET', '/v1/policies');
    expect(body.policies.standard).toEqual({ idle_seconds: 1_209_600, max_seconds: 2_592_000 });
  });

  test('[SE41] given a user, the export has all data and the erasure leaves none', async () => {
    const { id, token } = await login('p_1', {
      data: { secret: 'diary' },
      ip: '198.51.100.9',
      label: 'My phone',
    });
    await login('p_1');
    await service.service('DELETE', `/v1/sessions/${id}`);
    const exported = await service.service('GET', '/v1/users/p_1/export');
    expect(exported.body.sessions).toHaveLength(2);
    expect(exported.body.sessions[0].data).toEqual({ secret: 'diary' });
    expect(exported.body.events.map(({ type }: { type: string }) => type)).toContain('session.ended');
    expect(JSON.stringify(exported.body)).not.toMatch(/hash/);
    const live = await login('p_1');
    const receipt = await service.service('DELETE', '/v1/users/p_1');
    expect(receipt.body).toMatchObject({ sessions: 3, propagation: 'done' });
    expect((await check(live.token)).body.end_reason).toBe('erased');
    expect((await check(token)).status).toBe(401);
    const left = await sql(
      `SELECT s::text FROM session_events s UNION ALL SELECT s::text FROM sessions s UNION ALL SELECT s::text FROM subjects s`,
    );
    expect(JSON.stringify(left)).not.toMatch(/p_1|198\.51\.100\.9|diary|My phone/);
    expect((await service.service('DELETE', '/v1/users/p_1')).body).toMatchObject({ sessions: 0, events: 0 });
  });
});

describe('the audit log', () => {
  const feed = async (query: string) => (await service.service('GET', `/v1/events?${query}`)).body;
  let marks = 0;
  /** Behind everything that has happened: other tests' older transactions hold the feed back, so a mark is awaited. */
  const endOfFeed = async (): Promise<string> => {
    marks += 1;
    const client = new Client({ connectionString: stores.databaseUrl });
    await client.connect();
    await client.query(`INSERT INTO session_events (tenant_id, type) VALUES ('default', 'test.mark-${marks}')`);
    await client.end();
    let next: string | null = null;
    const readOn = async (): Promise<boolean> => {
      const page = await feed(`limit=1000${next === null ? '' : `&after=${next}`}`);
      ({ next } = page);
      return page.items.some(({ type }: { type: string }) => type === `test.mark-${marks}`);
    };
    await until(readOn, { what: 'the mark to appear' });
    return next ?? '';
  };

  test('[SE40] given a slow transaction, each event appears once and in order', async () => {
    let next = await endOfFeed();
    const slow = new Client({ connectionString: stores.databaseUrl });
    await slow.connect();
    await slow.query('BEGIN');
    await slow.query(`INSERT INTO session_events (tenant_id, type) VALUES ('default', 'test.slow')`);
    const { id } = await login('f_1');
    const seen: string[] = [];
    const readOn = async (): Promise<string[]> => {
      const page = await feed(`after=${next}`);
      ({ next } = page);
      const mine = page.items.filter(
        (one: { type: string; session_id: string }) => one.type === 'test.slow' || one.session_id === id,
      );
      seen.push(...mine.map(({ type }: { type: string }) => type));
      return seen;
    };
    expect(await readOn()).toEqual([]);
    await slow.query('COMMIT');
    await slow.end();
    // Any older transaction on this server holds the feed back for as long as it runs.
    await until(readOn, { ok: ({ length }) => length >= 2, what: 'both events' });
    await readOn();
    expect(seen).toEqual(['test.slow', 'session.created']);
  });

  test('[SE40] given event ids of different lengths, the order is numeric', async () => {
    const next = await endOfFeed();
    for (let n = 0; n < 4; n += 1) await login('f_numeric');
    await withClient(stores.databaseUrl, (client) => client.query(`SELECT setval('session_events_id_seq', 999999997)`));
    await service.service('DELETE', '/v1/users/f_numeric/sessions');
    const ended = async (): Promise<string[]> =>
      (await feed(`after=${next}&types=session.ended&limit=1000`)).items.map(({ id }: { id: string }) => id);
    const ids = await until(ended, { ok: ({ length }) => length === 4, what: 'the four ends' });
    expect(ids).toEqual(['999999998', '999999999', '1000000000', '1000000001']);
  });

  test('[SE40] given filters and a wait, they apply, and invalid positions are refused', async () => {
    const next = await endOfFeed();
    const waiting = feed(`after=${next}&wait=10&types=session.ended,other`);
    const { id } = await login('f_2');
    await service.service('DELETE', `/v1/sessions/${id}`);
    const { items } = await waiting;
    expect(items).toMatchObject([
      { type: 'session.ended', session_id: id, actor: 'key:0', detail: { reason: 'admin' } },
    ]);
    expect((await feed(`after=${next}&tenant=other`)).items).toEqual([]);
    expect((await service.service('GET', '/v1/events?after=x')).status).toBe(422);
    expect((await service.service('GET', '/v1/events?wait=21')).status).toBe(422);
  });

  test('[SE90] given users and guests, they read their own events', async () => {
    const { token, id } = await login('f_3');
    await login('f_4');
    const first = await service.bearer(token, 'GET', '/v1/me/events?limit=1');
    expect(first.body.items).toMatchObject([{ type: 'session.created', session_id: id }]);
    const more = await service.bearer(token, 'GET', `/v1/me/events?limit=1&before=${first.body.next}`);
    expect(more.body).toEqual({ items: [], next: null });
    const guest = (await service.call('POST', '/v1/guest-sessions', { json: { transport: 'bearer' } })).body;
    const own = await service.bearer(guest.token, 'GET', '/v1/me/events');
    expect(own.body.items).toMatchObject([{ session_id: guest.id }]);
  });
});
