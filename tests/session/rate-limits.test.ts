import { gzipSync } from 'node:zlib';
import { migrate } from '@muster/session-service/postgres/migration-runner';
import { useTestStores } from '@muster/testkit/stores';
import { withClient } from '@muster/testkit/template';
import { until } from '@muster/testkit/wait';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { cookieOf, ORIGIN, SERVICE_KEY, startService, type TestService } from './fixture.ts';

const stores = useTestStores({ migrate });
let stack: AsyncDisposableStack;
let replicas: TestService[];

beforeAll(async () => {
  stack = new AsyncDisposableStack();
  replicas = await Promise.all(
    ['1', '2', '3'].map((n) =>
      startService(stores, {
        INSTANCE_NAME: `session-test-${n}`,
        SWEEP_INTERVAL_MS: '50',
        SESSION_LIMIT_PER_MINUTE: '0',
      }),
    ),
  );
  for (const one of replicas) stack.use(one);
});
afterAll(() => stack.disposeAsync());

const sql = (text: string, values: unknown[] = []) =>
  withClient(stores.databaseUrl, async (client) => (await client.query(text, values)).rows);
const first = () => replicas[0]!;
const create = (body: string, headers: Record<string, string> = {}) =>
  first().call('POST', '/v1/sessions', {
    body,
    headers: { 'content-type': 'application/json', authorization: `Bearer ${SERVICE_KEY}`, ...headers },
  });

test('[SE24] given three replicas with sweepers, the limit holds and no login hangs', async () => {
  const user = 'u_three';
  await sql(
    `INSERT INTO subjects (tenant_id, user_id, max_sessions, at_limit) VALUES ('default', $1, 4, 'evict_idle')`,
    [user],
  );
  const over: number[] = [];
  let isDone = false;
  const watching = (async () => {
    while (!isDone) {
      const [{ n }] = await sql(
        `SELECT count(*)::int AS n FROM sessions WHERE user_id = $1 AND ended_at IS NULL AND expires_at > now()`,
        [user],
      );
      over.push(n);
      // Some expire by themselves, and the sweepers and the logins meet over them.
      await sql(
        `UPDATE sessions SET created_at = now() - interval '2 days', expires_at = now() - interval '1 millisecond'
         WHERE id = (SELECT id FROM sessions WHERE user_id = $1 AND ended_at IS NULL ORDER BY random() LIMIT 1 FOR UPDATE SKIP LOCKED)`,
        [user],
      );
    }
  })();
  const statuses: number[] = [];
  await Promise.all(
    replicas.flatMap((service) =>
      Array.from({ length: 4 }, async () => {
        for (let n = 0; n < 8; n += 1) {
          statuses.push((await service.service('POST', '/v1/sessions', { user_id: user })).status);
        }
      }),
    ),
  );
  isDone = true;
  await watching;
  expect(new Set(statuses)).toEqual(new Set([201]));
  expect(Math.max(...over)).toBeLessThanOrEqual(4);
  await until(
    async () => (await sql('SELECT 1 FROM sessions WHERE user_id = $1 AND ended_at IS NULL', [user])).length <= 4,
    { what: 'the sweepers' },
  );
  const twice = await sql(
    `SELECT session_id FROM session_events WHERE user_id = $1 AND type = 'session.ended' GROUP BY 1 HAVING count(*) > 1`,
    [user],
  );
  expect(twice).toEqual([]);
});

test('[SE47] given undelivered changes, they are delivered before the exit', async () => {
  const redis = new Redis(stores.redisUrl);
  const leaving = await startService(stores, { INSTANCE_NAME: 'leaving', OUTBOX_POLL_MS: '60000' });
  const { body } = await leaving.service('POST', '/v1/sessions', { user_id: 'u_leaving' });
  const prefix = `${stores.redisPrefix}s:`;
  await sql(
    `WITH ended AS (UPDATE sessions SET ended_at = now(), end_reason = 'revoked', rev = rev + 1 WHERE id = $1 RETURNING id, rev)
     INSERT INTO outbox (created_at, topic, payload) SELECT now() - interval '2 seconds', 'session', jsonb_build_object('k', 'end', 'why', 'revoked', 'at', 1,
     'sessions', jsonb_agg(jsonb_build_object('id', id, 'rev', rev))) FROM ended`,
    [body.id],
  );
  await leaving.app.drain(AbortSignal.timeout(5000));
  expect((await fetch(`${leaving.url}/readyz`)).status).toBe(503);
  expect(await redis.get(`${prefix}{${body.id}}`)).toBe('!2|revoked');
  await leaving[Symbol.asyncDispose]();
  redis.disconnect();
});

describe('requests', () => {
  test('[SE72] given every GET of the OpenAPI document, no row changes', async () => {
    const opened = await first().service('POST', '/v1/sessions', { user_id: 'u_get', transport: 'cookie' });
    const cookie = cookieOf(opened);
    const { body } = await first().call('GET', '/openapi.json');
    const paths = Object.entries(body.paths as Record<string, object>).filter(([, one]) => 'get' in one);
    expect(paths.length).toBeGreaterThan(8);
    // Without `last_seen_at`, the only column that a read may change.
    const rows = () =>
      Promise.all(
        ['sessions', 'subjects', 'outbox', 'session_events', 'idempotency_keys', 'api_keys'].map((table) =>
          sql(
            `SELECT '${table}' AS name, count(*)::int AS n, md5(string_agg(row, '' ORDER BY row)) AS hash
             FROM (SELECT (to_jsonb(t) - 'last_seen_at')::text AS row FROM ${table} t)`,
          ),
        ),
      );
    await until(async () => (await sql('SELECT 1 FROM outbox')).length === 0, { what: 'an empty outbox' });
    const before = await rows();
    for (const [path] of paths) {
      const at = path.replace('{id}', opened.body.id).replaceAll(/{\w+}/g, 'u_get');
      for (const headers of [{ cookie, origin: ORIGIN }, { authorization: `Bearer ${SERVICE_KEY}` }] as Record<
        string,
        string
      >[]) {
        for (const method of ['GET', 'HEAD']) {
          expect((await first().call(method, at, { headers })).status).toBeLessThan(500);
        }
      }
    }
    expect(await rows()).toEqual(before);
  });

  test('[SE13] [SE36] given two members of one name, the last is stored and hashed', async () => {
    const key = { 'idempotency-key': 'doubled' };
    const made = await create('{"user_id":"u_a","user_id":"u_b","data":{"x":1,"x":2}}', key);
    expect(made.body).toMatchObject({ user_id: 'u_b', data: { x: 2 } });
    const again = await create('{"user_id":"u_b","data":{"x":2}}', key);
    expect({ status: again.status, id: again.body.id }).toEqual({ status: 201, id: made.body.id });
    expect((await create('{"user_id":"u_a","data":{"x":2}}', key)).status).toBe(422);
  });

  test('[SE31] given a time of login in the future, only a small skew is accepted', async () => {
    const at = (ms: number) => JSON.stringify({ user_id: 'u_time', auth: { time: new Date(Date.now() + ms) } });
    expect((await create(at(30_000))).status).toBe(201);
    const far = await create(at(120_000));
    expect(far.status).toBe(422);
    expect(far.body.detail[0].loc).toEqual(['body', 'auth', 'time']);
    const { body } = await create(JSON.stringify({ user_id: 'u_time' }));
    const raise = (ms: number) =>
      first().service('POST', `/v1/sessions/${body.id}/step-up`, {
        aal: 2,
        auth_time: new Date(Date.now() + ms).toISOString(),
      });
    expect((await raise(120_000)).status).toBe(422);
    expect((await raise(1000)).status).toBe(200);
  });

  test('[SE70] given oversized, compressed and cut-off bodies, they are refused and the service continues', async () => {
    expect((await create(`{"label":"${'x'.repeat(1_048_576)}"}`)).status).toBe(413);
    const bomb = gzipSync(Buffer.alloc(20_000_000, 0x20));
    const answer = await fetch(`${first().url}/v1/sessions`, {
      method: 'POST',
      body: bomb,
      headers: {
        'content-type': 'application/json',
        'content-encoding': 'gzip',
        authorization: `Bearer ${SERVICE_KEY}`,
      },
    });
    // Inflating stops at the bound of a body.
    expect(answer.status).toBe(413);
    await answer.text();
    expect((await create('{"user_id":"u_1"')).status).toBe(422);
    expect((await create('{"user_id":"u_1"}')).status).toBe(201);
  });
});
