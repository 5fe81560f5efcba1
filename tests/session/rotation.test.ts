import { migrate } from '@muster/session-service/postgres/migration-runner';
import { useTestStores } from '@muster/testkit/stores';
import { withClient } from '@muster/testkit/template';
import { until } from '@muster/testkit/wait';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { cookieOf, startService, type TestService, tokenOf } from './fixture.ts';

const stores = useTestStores({ migrate });
let service: TestService;

beforeAll(async () => {
  service = await startService(stores);
});
afterAll(() => service[Symbol.asyncDispose]());

const sql = (text: string, values: unknown[] = []) =>
  withClient(stores.databaseUrl, async (client) => (await client.query(text, values)).rows);
const login = async (more: object = {}) =>
  (await service.service('POST', '/v1/sessions', { user_id: 'u_1', ...more })).body as {
    id: string;
    token: string;
  };
const check = (token: string) => service.bearer(token, 'GET', '/v1/session');
const rotate = (token: string) => service.bearer(token, 'POST', '/v1/session/rotate');
const forgetSnapshot = async (id: string) => {
  const client = new Redis(stores.redisUrl);
  await client.del(`${stores.redisPrefix}s:{${id}}`);
  client.disconnect();
};
/** Lets the grace of the previous secret end `seconds` ago, in Postgres and for Redis. */
const shiftGrace = async (id: string, seconds: number) => {
  await sql('UPDATE sessions SET prev_until = now() - make_interval(secs => $2), rev = rev + 1 WHERE id = $1', [
    id,
    seconds,
  ]);
  await forgetSnapshot(id);
};
const graceOf = async (id: string) =>
  (await sql('SELECT extract(epoch FROM prev_until - now())::float8 AS left FROM sessions WHERE id = $1', [id]))[0]
    .left as number;
const eventsOf = (id: string, type: string) =>
  sql('SELECT detail, actor FROM session_events WHERE session_id = $1 AND type = $2', [id, type]);

describe('rotation', () => {
  test('[SE30] given a rotation, the previous secret is valid until the new secret is used, and 30 s longer', async () => {
    const { id, token } = await login();
    const rotated = await rotate(token);
    expect(rotated.status).toBe(200);
    expect(rotated.body).toMatchObject({ id, current: true, rev: 2 });
    expect((await check(token)).status).toBe(200);
    expect(await graceOf(id)).toBeGreaterThan(23 * 3600);
    expect((await check(rotated.body.token)).status).toBe(200);
    await until(async () => (await graceOf(id)) <= 30, { what: 'the confirmation' });
    const left = await graceOf(id);
    expect((await check(token)).status).toBe(200);
    expect((await check(rotated.body.token)).status).toBe(200);
    expect(await graceOf(id)).toBeLessThanOrEqual(left);
    await shiftGrace(id, 1);
    const late = await check(token);
    expect(late.status).toBe(401);
    expect(late.body.type).toBe('/problems/stale-token');
    expect((await eventsOf(id, 'session.reuse_detected'))[0].detail).toMatchObject({
      kind: 'late',
      action: 'alert',
    });
    expect((await check(rotated.body.token)).status).toBe(200);
  });

  test('[SE81] given the previous secret, it cannot rotate', async () => {
    const { token } = await login();
    const first = await rotate(token);
    const again = await rotate(token);
    expect(again.status).toBe(409);
    expect(again.body.type).toBe('/problems/session-rotated');
    expect((await check(first.body.token)).status).toBe(200);
  });

  test('[SE30] [SE81] given a browser, a rotation sets the new cookie, and the previous secret receives none', async () => {
    const opened = await service.service('POST', '/v1/sessions', { user_id: 'u_1', transport: 'cookie' });
    const cookie = cookieOf(opened);
    const rotated = await service.cookie(cookie, 'POST', '/v1/session/rotate');
    expect(rotated.body.token).toBeUndefined();
    expect(tokenOf(cookieOf(rotated))).not.toBe(tokenOf(cookie));
    const old = await service.cookie(cookie, 'POST', '/v1/session/rotate');
    expect(old.status).toBe(200);
    expect(old.headers.get('set-cookie')).toBeNull();
  });

  test('[SE80] given 20 concurrent rotations, one wins', async () => {
    const { id, token } = await login();
    const answers = await Promise.all(Array.from({ length: 20 }, () => rotate(token)));
    const winners = answers.filter(({ status }) => status === 200);
    expect(winners).toHaveLength(1);
    expect(answers.filter(({ status }) => status === 409)).toHaveLength(19);
    expect((await check(winners[0]!.body.token)).status).toBe(200);
    expect((await eventsOf(id, 'session.rotated')).length).toBe(1);
  });

  test('[SE30] given a new secret that Redis does not have, Postgres decides and it is not reuse', async () => {
    const { id, token } = await login();
    const key = `${stores.redisPrefix}s:{${id}}`;
    const client = new Redis(stores.redisUrl);
    const before = (await client.get(key))!;
    const rotated = await rotate(token);
    await client.set(key, before, 'PX', 60_000);
    expect((await check(rotated.body.token)).status).toBe(200);
    expect(await eventsOf(id, 'session.reuse_detected')).toEqual([]);
    client.disconnect();
  });

  test('[SE32] given a secret of two generations ago, the session ends once', async () => {
    const { id, token } = await login();
    const second = (await rotate(token)).body.token;
    await rotate(second);
    const answers = await Promise.all([check(token), check(token), check(token)]);
    expect(answers.every(({ status }) => status === 401)).toBe(true);
    const after = await check(second);
    expect(after.body).toMatchObject({ type: '/problems/session-ended', end_reason: 'reuse_detected' });
    expect((await eventsOf(id, 'session.reuse_detected')).length).toBe(1);
    expect((await eventsOf(id, 'session.ended')).length).toBe(1);
  });
});

describe('step-up and upgrade', () => {
  test('[SE31] given a step-up, the previous secret is invalid at once and only the level rises', async () => {
    const { id, token } = await login({ label: 'Phone', data: { a: 1 }, auth: { aal: 1, amr: ['pwd'] } });
    const raised = await service.service('POST', `/v1/sessions/${id}/step-up`, { aal: 2, amr: ['otp'] });
    expect(raised.body).toMatchObject({
      id,
      label: 'Phone',
      data: { a: 1 },
      auth: { aal: 2, amr: ['otp', 'pwd'] },
    });
    expect((await check(token)).body.type).toBe('/problems/stale-token');
    expect((await check(raised.body.token)).body.auth.aal).toBe(2);
    const lower = await service.service('POST', `/v1/sessions/${id}/step-up`, {
      aal: 1,
      auth_time: '2020-01-01T00:00:00Z',
    });
    expect(lower.body.auth).toMatchObject({ aal: 2, time: raised.body.auth.time });
  });

  test('[SE31] [SE83] given an upgrade of a planted guest session, the attacker neither sees nor ends it', async () => {
    const guest = (
      await service.call('POST', '/v1/guest-sessions', { json: { transport: 'bearer', data: { cart: 1 } } })
    ).body;
    const upgraded = await service.service('POST', `/v1/sessions/${guest.id}/upgrade`, {
      user_id: 'u_victim',
      auth: { aal: 1, amr: ['pwd'] },
    });
    expect(upgraded.body).toMatchObject({
      id: guest.id,
      kind: 'user',
      user_id: 'u_victim',
      data: { cart: 1 },
    });
    expect((await check(guest.token)).body.type).toBe('/problems/stale-token');
    expect((await eventsOf(guest.id, 'session.reuse_detected'))[0].detail).toMatchObject({ action: 'alert' });
    expect((await check(upgraded.body.token)).body).toMatchObject({ user_id: 'u_victim', auth: { aal: 1 } });
    const again = await service.service('POST', `/v1/sessions/${guest.id}/upgrade`, { user_id: 'u_other' });
    expect(again.status).toBe(409);
    expect((await check(upgraded.body.token)).body.user_id).toBe('u_victim');
  });

  test('[SE31] given a stale snapshot in Redis, the planted token sees at most a guest', async () => {
    const guest = (await service.call('POST', '/v1/guest-sessions', { json: { transport: 'bearer' } })).body;
    const key = `${stores.redisPrefix}s:{${guest.id}}`;
    const client = new Redis(stores.redisUrl);
    const before = (await client.get(key))!;
    await service.service('POST', `/v1/sessions/${guest.id}/upgrade`, { user_id: 'u_victim' });
    await client.set(key, before, 'PX', 60_000);
    const seen = await check(guest.token);
    expect(seen.body).toMatchObject({ kind: 'guest', user_id: null });
    client.disconnect();
  });

  test('[SE82] given a user at the limit, a refused upgrade ends no session', async () => {
    await sql(
      `INSERT INTO subjects (tenant_id, user_id, max_sessions, at_limit) VALUES ('default', 'u_full', 1, 'reject')`,
    );
    const first = await login({ user_id: 'u_full' });
    const guest = (await service.call('POST', '/v1/guest-sessions', { json: { transport: 'bearer' } })).body;
    const refused = await service.service('POST', `/v1/sessions/${guest.id}/upgrade`, { user_id: 'u_full' });
    expect(refused.status).toBe(409);
    expect(refused.body.type).toBe('/problems/session-limit');
    await sql(`UPDATE subjects SET at_limit = 'evict_oldest' WHERE user_id = 'u_full'`);
    await service.service('DELETE', `/v1/sessions/${guest.id}`);
    const over = await service.service('POST', `/v1/sessions/${guest.id}/upgrade`, { user_id: 'u_full' });
    expect(over.status).toBe(409);
    expect((await check(first.token)).status).toBe(200);
    const fresh = (await service.call('POST', '/v1/guest-sessions', { json: { transport: 'bearer' } })).body;
    expect((await service.service('POST', `/v1/sessions/${fresh.id}/upgrade`, { user_id: 'u_full' })).status).toBe(200);
    expect((await check(first.token)).body.end_reason).toBe('evicted');
  });
});

describe('contents', () => {
  const patch = (token: string, body: unknown, headers: Record<string, string> = {}) =>
    service.bearer(token, 'PATCH', '/v1/session', body, headers);

  test('[SE33] given If-Match, a merge patch changes the named members', async () => {
    const { token } = await login({ data: { a: 1, b: { c: 2, d: 3 } } });
    expect((await patch(token, { data: { a: 2 } })).status).toBe(428);
    const changed = await patch(token, { label: 'Desk', data: { a: null, b: { c: 4 } } }, { 'if-match': '"1"' });
    expect(changed.status).toBe(200);
    expect(changed.headers.get('etag')).toBe('"2"');
    expect(changed.body).toMatchObject({ label: 'Desk', rev: 2 });
    expect(changed.body.data).toEqual({ b: { c: 4, d: 3 } });
    expect((await check(token)).body).toMatchObject({ label: 'Desk', data: { b: { c: 4, d: 3 } } });
    for (const tag of ['"1"', '"99"', 'W/"2"', '2', 'x']) {
      expect((await patch(token, { data: { z: 1 } }, { 'if-match': tag })).status).toBe(412);
    }
    expect((await patch(token, { data: { z: 1 } }, { 'if-match': '*' })).body.data.z).toBe(1);
    expect((await patch(token, { label: null })).body.label).toBeNull();
  });

  test('[SE33] given 10 concurrent changes with one If-Match, one wins; with * all do', async () => {
    const { token } = await login();
    const answers = await Promise.all(
      Array.from({ length: 10 }, (_, n) => patch(token, { data: { winner: n } }, { 'if-match': '"1"' })),
    );
    expect(answers.filter(({ status }) => status === 200)).toHaveLength(1);
    expect(answers.filter(({ status }) => status === 412)).toHaveLength(9);
    const all = await Promise.all(
      Array.from({ length: 4 }, (_, n) => patch(token, { data: { [`k${n}`]: n } }, { 'if-match': '*' })),
    );
    expect(all.every(({ status }) => status === 200)).toBe(true);
    expect((await check(token)).body.data).toMatchObject({ k0: 0, k1: 1, k2: 2, k3: 3 });
  });

  test('[SE33] given patches, data cannot exceed its bound', async () => {
    const { token } = await login({ data: { a: 'x'.repeat(12_000) } });
    const answer = await patch(token, { data: { b: 'x'.repeat(12_000) } }, { 'if-match': '*' });
    expect(answer.status).toBe(422);
    expect(answer.body.detail[0].loc).toEqual(['body', 'data']);
    expect((await check(token)).body.data.a).toHaveLength(12_000);
  });

  test('[SE34] given users and back ends, users change own labels and back ends also grants', async () => {
    const user = { user_id: 'u_labels' };
    const [one, other, stranger] = [await login(user), await login(user), await login()];
    const relabel = (id: string) => service.bearer(one.token, 'PATCH', `/v1/me/sessions/${id}`, { label: 'TV' });
    const done = await relabel(other.id);
    expect(done.body).toMatchObject({ id: other.id, label: 'TV', current: false });
    expect((await relabel(stranger.id)).status).toBe(404);
    expect((await patch(one.token, { grants: [] })).status).toBe(422);
    const grants = [{ groups: 'chat:*', allow: ['subscribe'] }];
    const granted = await service.service('PATCH', `/v1/sessions/${one.id}`, { grants });
    expect(granted.body.grants).toEqual(grants);
    expect((await check(one.token)).body.grants).toEqual(grants);
  });

  test('[SE85] when a session is extended, activity is recorded and the absolute expiry stays', async () => {
    const { id } = await login();
    await sql(`UPDATE sessions SET last_seen_at = now() - interval '1 hour' WHERE id = $1`, [id]);
    const before = (await service.service('GET', `/v1/sessions/${id}`)).body;
    const after = await service.service('POST', `/v1/sessions/${id}/extend`);
    expect(Date.parse(after.body.last_seen_at)).toBeGreaterThan(Date.parse(before.last_seen_at) + 3_000_000);
    expect(after.body.expires_at).toBe(before.expires_at);
    await service.service('DELETE', `/v1/sessions/${id}`);
    expect((await service.service('POST', `/v1/sessions/${id}/extend`)).status).toBe(409);
  });
});
