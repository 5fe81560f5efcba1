import { setTimeout as sleep } from 'node:timers/promises';
import type { SessionId } from '@muster/session/token';
import { migrate } from '@muster/session-service/postgres/migration-runner';
import { touchSessions } from '@muster/session-service/postgres/queries/maintenance';
import { openFaultProxy } from '@muster/testkit/fault-proxy';
import { useTestStores } from '@muster/testkit/stores';
import { withClient } from '@muster/testkit/template';
import { until } from '@muster/testkit/wait';
import fc from 'fast-check';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type ApiReply, startService, type TestService } from './fixture.ts';

const stores = useTestStores({ migrate });
let stack: AsyncDisposableStack;
let redis: Redis;
let one: TestService;
let other: TestService;

beforeAll(async () => {
  stack = new AsyncDisposableStack();
  redis = new Redis(stores.redisUrl);
  stack.defer(() => redis.disconnect());
  const more = { SESSION_LIMIT_PER_MINUTE: '0', SWEEP_INTERVAL_MS: '60000' };
  one = stack.use(await startService(stores, more));
  other = stack.use(await startService(stores, { ...more, INSTANCE_NAME: 'session-test-2' }));
});
afterAll(() => stack.disposeAsync());

const sql = (text: string, values: unknown[] = []) =>
  withClient(stores.databaseUrl, async (client) => (await client.query(text, values)).rows);
const open = (user: string, at = one, more: object = {}) =>
  at.service('POST', '/v1/sessions', { user_id: user, ...more });
const login = async (user = 'u_1', more: object = {}) =>
  (await open(user, one, more)).body as { id: string; token: string };
const check = (token: string, at = one) => at.bearer(token, 'GET', '/v1/session');
const keyOf = (id: string) => `${stores.redisPrefix}s:{${id}}`;
const endsOf = async (id: string) =>
  (await sql(`SELECT 1 FROM session_events WHERE session_id = $1 AND type = 'session.ended'`, [id])).length;

test('[SE61] given a slow read, an end that it overlaps stays', async () => {
  const [first, second] = [await login(), await login()];
  await using cable = await openFaultProxy(stores.databaseUrl);
  await using slow = await startService({ ...stores, databaseUrl: cable.url });
  await redis.del(keyOf(first.id));
  // The row is read after half a second and on its way back for another; the end happens in between.
  await cable.delay(500);
  const reading = check(first.token, slow);
  await sleep(750);
  expect((await one.service('DELETE', `/v1/sessions/${first.id}`)).status).toBe(204);
  await reading;
  expect(await redis.get(keyOf(first.id))).toBe('!2|admin');
  await cable.pass();
  for (const at of [slow, one, other]) expect((await check(first.token, at)).status).toBe(401);
  expect((await check(second.token, slow)).status).toBe(200);
});

test('[SE7] given an ended or expired session, another end is 204 with one event in all', async () => {
  const [live, expired] = [await login(), await login()];
  await sql(
    `UPDATE sessions SET created_at = now() - interval '2 days', expires_at = now() - interval '1 second' WHERE id = $1`,
    [expired.id],
  );
  await redis.del(keyOf(expired.id));
  const end = async (id: string, at: TestService) => (await at.service('DELETE', `/v1/sessions/${id}`)).status;
  const answers = await Promise.all(Array.from({ length: 10 }, (_, n) => end(live.id, n % 2 === 0 ? one : other)));
  expect(new Set(answers)).toEqual(new Set([204]));
  expect(await end(live.id, one)).toBe(204);
  expect((await one.bearer(live.token, 'DELETE', '/v1/session')).status).toBe(204);
  expect(await endsOf(live.id)).toBe(1);
  expect(await end(expired.id, one)).toBe(204);
  expect(await end(expired.id, other)).toBe(204);
  expect((await check(expired.token)).status).toBe(401);
  expect(await endsOf(expired.id)).toBeLessThanOrEqual(1);
});

/** One history: logins and one "end all" at chosen moments, with the instants between which each happened. */
const race = async (
  user: string,
  delays: readonly number[],
  endAt: number,
  path: (token: string) => Promise<ApiReply>,
) => {
  const own = await login(user);
  let endBegun = 0;
  let endDone = 0;
  const ending = sleep(endAt).then(async () => {
    endBegun = performance.now();
    const answer = await path(own.token);
    endDone = performance.now();
    return answer;
  });
  const logins = await Promise.all(
    delays.map(async (delay, n) => {
      await sleep(delay);
      const begun = performance.now();
      const { body, status } = await open(user, n % 2 === 0 ? one : other);
      expect(status).toBe(201);
      return { id: body.id as string, token: body.token as string, begun, done: performance.now() };
    }),
  );
  const ended = await ending;
  expect(ended.status).toBe(200);
  const alive = new Set(
    await Promise.all(
      logins.map(async ({ id, token }, n) =>
        (await check(token, n % 2 === 0 ? other : one)).status === 200 ? id : '',
      ),
    ),
  );
  for (const { id, begun, done } of logins) {
    if (done < endBegun) expect(alive.has(id)).toBe(false);
    if (begun > endDone) expect(alive.has(id)).toBe(true);
  }
  const rows = await sql('SELECT id FROM sessions WHERE user_id = $1 AND ended_at IS NULL', [user]);
  alive.delete('');
  return { own, alive, live: new Set(rows.map(({ id }) => id as string)), ended: ended.body.ended as number };
};

test('[SE25] given "end all" and 40 logins, the end is atomic', async () => {
  let run = 0;
  await fc.assert(
    fc.asyncProperty(fc.array(fc.nat(60), { minLength: 40, maxLength: 40 }), fc.nat(60), async (delays, endAt) => {
      run += 1;
      const user = `u_all_${run}`;
      const result = await race(user, delays, endAt, (token) =>
        one.bearer(token, 'DELETE', '/v1/me/sessions?all=true'),
      );
      expect(result.alive).toEqual(result.live);
      expect(result.ended + result.alive.size).toBe(41);
      expect((await check(result.own.token)).status).toBe(401);
      expect(
        await sql(`SELECT 1 FROM session_events WHERE user_id = $1 AND type = 'session.ended'`, [user]),
      ).toHaveLength(result.ended);
    }),
    { numRuns: 8, endOnFailure: true },
  );
});

test('[SE25] given "end the others" and logins, the own session stays and every live session is listed', async () => {
  let run = 0;
  await fc.assert(
    fc.asyncProperty(fc.array(fc.nat(30), { minLength: 2, maxLength: 8 }), fc.nat(30), async (delays, endAt) => {
      run += 1;
      const result = await race(`u_others_${run}`, delays, endAt, (token) =>
        other.bearer(token, 'DELETE', '/v1/me/sessions?except=current'),
      );
      const { body } = await one.bearer(result.own.token, 'GET', '/v1/me/sessions?limit=100');
      const listed = new Set<string>(body.items.map(({ id }: { id: string }) => id));
      expect(listed).toEqual(new Set([...result.alive, result.own.id]));
      expect(result.ended + result.alive.size).toBe(delays.length);
    }),
    { numRuns: 12, endOnFailure: true },
  );
});

test('[SE30] [SE61] given rotations, checks and an end in any interleaving, the end stays', async () => {
  const acts = ['check', 'rotate', 'forget', 'passive', 'patch'] as const;
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.tuple(fc.constantFrom(...acts), fc.nat(15)), { minLength: 4, maxLength: 12 }),
      fc.nat(15),
      async (steps, endAt) => {
        const { id, token } = await login('u_interleaved');
        const secrets = [token];
        await Promise.all([
          ...steps.map(async ([act, delay], n) => {
            await sleep(delay);
            const at = n % 2 === 0 ? one : other;
            if (act === 'forget') return redis.del(keyOf(id));
            if (act === 'check') return check(token, at);
            if (act === 'passive') return at.bearer(token, 'GET', '/v1/session?passive=true');
            if (act === 'patch') return at.bearer(token, 'PATCH', '/v1/session', { label: 'x' });
            const { status, body } = await at.bearer(token, 'POST', '/v1/session/rotate');
            if (status === 200) secrets.push(body.token);
            return undefined;
          }),
          sleep(endAt).then(() => other.service('DELETE', `/v1/sessions/${id}`)),
        ]);
        for (const secret of secrets) {
          for (const at of [one, other]) expect((await check(secret, at)).status).toBe(401);
        }
        // A replica that caches the rejection does not query again, and so does not rewrite a forgotten tombstone.
        const tombstone = await redis.get(keyOf(id));
        const isForgotten = steps.some(([act]) => act === 'forget') && tombstone === null;
        if (!isForgotten) expect(tombstone).toMatch(/^!\d+\|admin$/);
        expect(await endsOf(id)).toBe(1);
      },
    ),
    { numRuns: 25, endOnFailure: true },
  );
});

test('[SE5] given ten thousand sessions of a user, one call ends them', async () => {
  await sql(
    `INSERT INTO sessions (id, user_id, kind, policy, transport, secret_hash, idle_seconds, expires_at, idle_check_at)
     SELECT gen_random_uuid(), 'u_many', 'user', 'standard', 'bearer', sha256(n::text::bytea), 3600,
       now() + interval '1 day', now() + interval '1 hour' FROM generate_series(1, 10000) AS n`,
  );
  const { token } = await login('u_bystander');
  const begun = performance.now();
  const ending = one.service('DELETE', '/v1/users/u_many/sessions');
  const times: number[] = [];
  let isOver = false;
  const watching = (async () => {
    while (!isOver) {
      const asked = performance.now();
      expect((await check(token)).status).toBe(200);
      times.push(performance.now() - asked);
      await sleep(10);
    }
  })();
  const answer = await ending;
  isOver = true;
  await watching;
  expect([200, 202]).toContain(answer.status);
  expect(answer.body.ended).toBe(10_000);
  expect(performance.now() - begun).toBeLessThan(10_000);
  expect(await sql(`SELECT 1 FROM sessions WHERE user_id = 'u_many' AND ended_at IS NULL`)).toEqual([]);
  expect(
    (await sql(`SELECT count(*)::int AS n FROM session_events WHERE user_id = 'u_many' AND type = 'session.ended'`))[0]
      .n,
  ).toBe(10_000);
  const [sample] = await sql(`SELECT id FROM sessions WHERE user_id = 'u_many' ORDER BY id DESC LIMIT 1`);
  await until(() => redis.get(keyOf(sample.id)), {
    ok: (value) => value?.startsWith('!2|') === true,
    what: 'the last tombstone',
    timeoutMs: 10_000,
  });
  // Other requests are served meanwhile and do not wait for the whole batch.
  expect(Math.max(...times)).toBeLessThan(2000);
});

test('[SE27] given continuous activity writes, ends are not delayed', async () => {
  const sessions = await Promise.all(Array.from({ length: 30 }, () => login('u_busy')));
  const ids = sessions.map(({ id }) => id as SessionId);
  let isOver = false;
  const touching = Array.from({ length: 4 }, (_, n) =>
    withClient(stores.databaseUrl, async (client) => {
      const query = async <R>(_name: string, text: string, values: readonly unknown[] = []) =>
        (await client.query(text, [...values])).rows as R[];
      const db = { query, write: query };
      const touches = (n % 2 === 0 ? ids : ids.toReversed()).map((id) => ({ id, at: Date.now() }));
      while (!isOver) await touchSessions(db, touches);
    }),
  );
  const times: number[] = [];
  for (const { id } of sessions) {
    const begun = performance.now();
    expect((await one.service('DELETE', `/v1/sessions/${id}`)).status).toBe(204);
    times.push(performance.now() - begun);
  }
  isOver = true;
  await Promise.all(touching);
  times.sort((a, b) => a - b);
  expect(times[15]).toBeLessThan(500);
  expect(await sql(`SELECT 1 FROM sessions WHERE user_id = 'u_busy' AND ended_at IS NULL`)).toEqual([]);
});
