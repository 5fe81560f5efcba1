import { createMetrics } from '@muster/kit/metrics';
import { openRedis } from '@muster/kit/redis/connection';
import { createTouchBuffer } from '@muster/session/activity';
import { newSessionId, type SessionId } from '@muster/session/token';
import { migrate } from '@muster/session-service/postgres/migration-runner';
import { type DedicatedStore, openDedicatedRedis } from '@muster/testkit/dedicated-store';
import { createInMemoryLog } from '@muster/testkit/in-memory-log';
import { useTestStores } from '@muster/testkit/stores';
import { withClient } from '@muster/testkit/template';
import { until } from '@muster/testkit/wait';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { startService, type TestService } from './fixture.ts';

const stores = useTestStores({ migrate });
let stack: AsyncDisposableStack;
let redis: DedicatedStore;
let service: TestService;

beforeAll(async () => {
  stack = new AsyncDisposableStack();
  redis = stack.use(await openDedicatedRedis());
  service = stack.use(
    await startService(
      { databaseUrl: stores.databaseUrl, redisUrl: redis.url, redisPrefix: 't:' },
      { SWEEP_INTERVAL_MS: '100' },
    ),
  );
});
afterAll(() => stack.disposeAsync());

const connect = () =>
  openRedis(
    {
      url: redis.url,
      prefix: 't:',
      maxConnections: 5,
      connectTimeoutMs: 1000,
      commandTimeoutMs: 1000,
      name: 'test',
    },
    { log: createInMemoryLog(), metrics: createMetrics({ service: 'test', version: '0' }) },
  );
const sql = (text: string, values: unknown[] = []) =>
  withClient(stores.databaseUrl, async (client) => (await client.query(text, values)).rows);
const login = async (more: object = {}) =>
  (await service.service('POST', '/v1/sessions', { user_id: 'u_1', ...more })).body as {
    id: SessionId;
    token: string;
  };
const age = (id: string, column: string, seconds: number) =>
  sql(`UPDATE sessions SET ${column} = now() - make_interval(secs => $2) WHERE id = $1`, [id, seconds]);
const stateOf = async (id: string) =>
  (
    await sql(
      'SELECT end_reason, last_seen_at, extract(epoch FROM now() - last_seen_at)::float8 AS silent FROM sessions WHERE id = $1',
      [id],
    )
  )[0];

test('[SE27] given activity, it reaches Postgres within a flush, once per interval; a passive request does not', async () => {
  const { id, token } = await login();
  await age(id, 'last_seen_at', 500);
  expect((await service.bearer(token, 'GET', '/v1/session?passive=true')).status).toBe(200);
  await new Promise((resolve) => setTimeout(resolve, 300));
  expect((await stateOf(id)).silent).toBeGreaterThan(499);
  await service.bearer(token, 'GET', '/v1/session');
  await until(async () => (await stateOf(id)).silent < 5, { what: 'the touch' });
  const before = (await stateOf(id)).last_seen_at.getTime();
  for (let n = 0; n < 20; n += 1) await service.bearer(token, 'GET', '/v1/session');
  await new Promise((resolve) => setTimeout(resolve, 300));
  expect((await stateOf(id)).last_seen_at.getTime()).toBe(before);
});

test('[SE27] given an ended session or an older touch, nothing changes', async () => {
  const { id } = await login();
  const over = await login();
  await service.service('DELETE', `/v1/sessions/${over.id}`);
  const [before, overBefore] = [await stateOf(id), await stateOf(over.id)];
  await using own = await connect();
  const buffer = createTouchBuffer({ redis: own });
  await buffer.add([
    { id, at: Date.now() - 3_600_000 },
    { id: over.id, at: Date.now() + 60_000 },
  ]);
  await until(async () => (await buffer.size()) === 0, { what: 'an empty buffer' });
  await new Promise((resolve) => setTimeout(resolve, 200));
  expect(await stateOf(id)).toMatchObject({ last_seen_at: before.last_seen_at });
  expect(await stateOf(over.id)).toMatchObject({
    last_seen_at: overBefore.last_seen_at,
    end_reason: 'admin',
  });
});

test('[TO2] given several touches, the latest is kept, and a taken touch is removed', async () => {
  await using own = await connect();
  const other = { ...own, prefix: 'u:' };
  const buffer = createTouchBuffer({ redis: other });
  const [id, unknown] = [newSessionId(), newSessionId()];
  await buffer.add([{ id, at: 200 }]);
  await buffer.add([{ id, at: 100 }]);
  expect(await buffer.pending([id, unknown])).toEqual([200, undefined]);
  expect(await buffer.take(10)).toEqual([{ id, at: 200 }]);
  expect(await buffer.take(10)).toEqual([]);
});

test('[SE27] given overlapping batches of touches in opposite orders and ends, there is no deadlock', async () => {
  const sessions = await Promise.all(Array.from({ length: 30 }, () => login({ user_id: 'u_batch' })));
  await using own = await connect();
  const buffer = createTouchBuffer({ redis: own });
  await Promise.all([
    ...Array.from({ length: 40 }, (_, n) => {
      const ids = sessions.map(({ id }) => id);
      return buffer.add((n % 2 ? ids : ids.toReversed()).map((id) => ({ id, at: Date.now() + n })));
    }),
    ...sessions.slice(0, 10).map(({ id }) => service.service('DELETE', `/v1/sessions/${id}`)),
  ]);
  await until(async () => (await buffer.size()) === 0, { what: 'an empty buffer' });
  expect(service.log.lines.filter(({ level }) => level === 'error')).toEqual([]);
  const rows = await sql(`SELECT count(*)::int AS n FROM sessions WHERE user_id = 'u_batch' AND ended_at IS NULL`);
  expect(rows[0].n).toBe(20);
});

test('[SE28] given an expired or idle session, it ends once with the reason, and the end is published', async () => {
  const [expired, silent, active] = [await login(), await login(), await login({ policy: 'service' })];
  await sql(
    `UPDATE sessions SET created_at = now() - interval '2 days', expires_at = now() - interval '1 second' WHERE id = $1`,
    [expired.id],
  );
  await sql(`UPDATE sessions SET last_seen_at = now() - interval '20 days', idle_check_at = now() WHERE id = ANY($1)`, [
    [silent.id, active.id],
  ]);
  await until(async () => (await stateOf(expired.id)).end_reason === 'expired', { what: 'the expiry' });
  await until(async () => (await stateOf(silent.id)).end_reason === 'idle', {
    what: 'the end of the silent one',
  });
  expect((await stateOf(active.id)).end_reason).toBeNull();
  expect((await service.bearer(silent.token, 'GET', '/v1/session')).body.end_reason).toBe('idle');
  const events = await sql(
    `SELECT count(*)::int AS n FROM session_events WHERE session_id = $1 AND type = 'session.ended'`,
    [silent.id],
  );
  expect(events[0].n).toBe(1);
  await using own = await connect();
  await until(async () => own.lane().get(`t:s:{${silent.id}}`), {
    ok: (value) => value === '!2|idle',
    what: 'the tombstone',
  });
});

test('[SE79] given pending activity or no Redis, no session is ended as idle', async () => {
  const { id } = await login();
  const other = await login();
  await redis.stop();
  for (const one of [id, other.id]) {
    await sql(`UPDATE sessions SET last_seen_at = now() - interval '20 days', idle_check_at = now() WHERE id = $1`, [
      one,
    ]);
  }
  await new Promise((resolve) => setTimeout(resolve, 500));
  expect((await stateOf(id)).end_reason).toBeNull();
  await redis.start();
  await until(async () => (await stateOf(other.id)).end_reason === 'idle', {
    what: 'the sweeper',
    timeoutMs: 10_000,
  });
});

test('[SE78] given no Redis, activity is written to Postgres directly', async () => {
  const { id, token } = await login();
  await age(id, 'last_seen_at', 500);
  await redis.stop();
  await service.bearer(token, 'GET', '/v1/session');
  await until(async () => (await stateOf(id)).silent < 60, { what: 'the touch' });
  await redis.start();
});

test('[SE29] given the retention, old sessions and events are deleted, and partitions exist ahead', async () => {
  const { id } = await login();
  await service.service('DELETE', `/v1/sessions/${id}`);
  await sql(`UPDATE sessions SET ended_at = now() - interval '31 days' WHERE id = $1`, [id]);
  await until(async () => (await stateOf(id)) === undefined, { what: 'the deletion' });
  const partitions = async () =>
    (await sql(`SELECT relname FROM pg_class WHERE relname ~ '^session_events_[0-9]{6}$' ORDER BY 1`)).map(
      ({ relname }) => relname as string,
    );
  expect(await partitions()).toHaveLength(3);
  await sql(
    `CREATE TABLE session_events_202001 PARTITION OF session_events FOR VALUES FROM ('2020-01-01') TO ('2020-02-01')`,
  );
  expect((await sql('SELECT drop_session_event_partitions(90) AS n'))[0].n).toBe(1);
  expect(await partitions()).toHaveLength(3);
});
