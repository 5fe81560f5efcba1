import { migrate } from '@muster/session-service/postgres/migration-runner';
import { useTestStores } from '@muster/testkit/stores';
import { withClient } from '@muster/testkit/template';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { startService, type TestService } from './fixture.ts';

const stores = useTestStores({ migrate });
let one: TestService;
let other: TestService;

beforeAll(async () => {
  one = await startService(stores);
  other = await startService(stores, { INSTANCE_NAME: 'session-test-2' });
});
afterAll(async () => {
  await one[Symbol.asyncDispose]();
  await other[Symbol.asyncDispose]();
});

const sql = (text: string, values: unknown[] = []) =>
  withClient(stores.databaseUrl, async (client) => (await client.query(text, values)).rows);

const limitUser = (user: string, rule: string, max = 5) =>
  sql('INSERT INTO subjects (tenant_id, user_id, max_sessions, at_limit) VALUES ($1, $2, $3, $4)', [
    'default',
    user,
    max,
    rule,
  ]);

const open = (user: string, n: number, more: object = {}) =>
  (n % 2 === 0 ? one : other).service('POST', '/v1/sessions', { user_id: user, ...more });

const liveOf = async (user: string): Promise<string[]> =>
  (await sql('SELECT id FROM sessions WHERE user_id = $1 AND ended_at IS NULL', [user])).map((row) => row.id);

test.each(['evict_oldest', 'evict_idle'])(
  '[SE24] given 60 concurrent logins on two replicas, exactly 5 sessions remain (%s)',
  async (rule) => {
    const user = `u_${rule}`;
    await limitUser(user, rule);
    const answers = await Promise.all(Array.from({ length: 60 }, (_, n) => open(user, n)));
    expect(answers.every(({ status }) => status === 201)).toBe(true);
    const live = await liveOf(user);
    expect(live).toHaveLength(5);
    const checks = await Promise.all(
      answers.map(async ({ body }) => ({
        id: body.id as string,
        status: (await one.bearer(body.token, 'GET', '/v1/session')).status,
      })),
    );
    expect(
      checks
        .filter(({ status }) => status === 200)
        .map(({ id }) => id)
        .toSorted(),
    ).toEqual(live.toSorted());
  },
);

test('[SE76] given reject, 55 of 60 concurrent logins are refused with the devices', async () => {
  await limitUser('u_reject', 'reject');
  const answers = await Promise.all(Array.from({ length: 60 }, (_, n) => open('u_reject', n)));
  expect(answers.filter(({ status }) => status === 201)).toHaveLength(5);
  const refused = answers.filter(({ status }) => status === 409);
  expect(refused).toHaveLength(55);
  expect(refused[0]!.body.type).toBe('/problems/session-limit');
  expect(refused[0]!.body.sessions).toHaveLength(5);
  expect(await liveOf('u_reject')).toHaveLength(5);
});

test('[SE77] given concurrent logins of one device, it has one session', async () => {
  await limitUser('u_device', 'replace_device');
  const answers = await Promise.all(
    Array.from({ length: 20 }, (_, n) => open('u_device', n, { client: { device_id: 'd1' } })),
  );
  expect(answers.every(({ status }) => status === 201)).toBe(true);
  expect(await liveOf('u_device')).toHaveLength(1);
});

test('[SE24] given expired sessions, they do not count, and a lower limit ends none', async () => {
  await limitUser('u_lower', 'reject', 3);
  const answers = await Promise.all([0, 1, 2].map((n) => open('u_lower', n)));
  expect((await open('u_lower', 3)).status).toBe(409);
  await sql(
    `UPDATE sessions SET created_at = now() - interval '2 days', expires_at = now() - interval '1 day' WHERE id = $1`,
    [answers[0]!.body.id],
  );
  expect((await open('u_lower', 4)).status).toBe(201);
  await sql(`UPDATE subjects SET max_sessions = 1, at_limit = 'evict_oldest' WHERE user_id = 'u_lower'`);
  expect((await one.bearer(answers[1]!.body.token, 'GET', '/v1/session')).status).toBe(200);
  const last = await open('u_lower', 5);
  const check = (token: string) => one.bearer(token, 'GET', '/v1/session');
  expect((await check(answers[1]!.body.token)).body.end_reason).toBe('evicted');
  expect((await check(last.body.token)).status).toBe(200);
});

test('[SE25] given concurrent logins and "end all", later sessions live and earlier sessions have ended', async () => {
  const user = 'u_race';
  const first = await open(user, 0);
  const logins = Array.from({ length: 40 }, async (_, n) => {
    await new Promise((resolve) => setTimeout(resolve, n % 8));
    return open(user, n);
  });
  await new Promise((resolve) => setTimeout(resolve, 4));
  const ended = await one.bearer(first.body.token, 'DELETE', '/v1/me/sessions?all=true');
  expect(ended.status).toBe(200);
  const answers = await Promise.all(logins);
  const listed = new Set(await liveOf(user));
  for (const { body } of answers) {
    const { status } = await other.bearer(body.token, 'GET', '/v1/session');
    expect(status).toBe(listed.has(body.id) ? 200 : 401);
  }
  expect((await one.bearer(first.body.token, 'GET', '/v1/session')).status).toBe(401);
  const events = await sql(
    `SELECT session_id, count(*)::int AS n FROM session_events WHERE user_id = $1 AND type = 'session.ended' GROUP BY 1`,
    [user],
  );
  expect(events.every(({ n }) => n === 1)).toBe(true);
  expect(listed.size + events.length).toBe(41);
});

test('[SE25] given a disabled user, a login is refused', async () => {
  await sql(`INSERT INTO subjects (tenant_id, user_id, disabled_at) VALUES ('default', 'u_disabled', now())`);
  const answer = await open('u_disabled', 0);
  expect(answer.status).toBe(409);
  expect(answer.body.type).toBe('/problems/user-disabled');
});
