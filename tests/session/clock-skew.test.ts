import { type Clock, systemClock } from '@muster/kit/clock';
import { createMetrics } from '@muster/kit/metrics';
import { openRedis } from '@muster/kit/redis/connection';
import { systemRandom } from '@muster/kit/runtime';
import { createTouchBuffer } from '@muster/session/activity';
import type { SessionId } from '@muster/session/token';
import { createApp, type SessionServiceApp } from '@muster/session-service/app';
import { readConfig } from '@muster/session-service/config';
import { migrate } from '@muster/session-service/postgres/migration-runner';
import { createInMemoryLog } from '@muster/testkit/in-memory-log';
import { useTestStores } from '@muster/testkit/stores';
import { withClient } from '@muster/testkit/template';
import { until } from '@muster/testkit/wait';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { environment, SERVICE_KEY, startService, type TestService } from './fixture.ts';

const HOUR = 3_600_000;
const stores = useTestStores({ migrate });
let stack: AsyncDisposableStack;
let redis: Redis;
let service: TestService;

beforeAll(async () => {
  stack = new AsyncDisposableStack();
  redis = new Redis(stores.redisUrl);
  stack.defer(() => redis.disconnect());
  service = stack.use(await startService(stores, { SWEEP_INTERVAL_MS: '60000', SESSION_LIMIT_PER_MINUTE: '0' }));
});
afterAll(() => stack.disposeAsync());

const sql = (text: string, values: unknown[] = []) =>
  withClient(stores.databaseUrl, async (client) => (await client.query(text, values)).rows);
const login = async (more: object = {}) =>
  (await service.service('POST', '/v1/sessions', { user_id: 'u_1', ...more })).body as {
    id: string;
    token: string;
  };
const check = (token: string) => service.bearer(token, 'GET', '/v1/session');
const keyOf = (id: string) => `${stores.redisPrefix}s:{${id}}`;
const forget = (id: string) => redis.del(keyOf(id));

/** A replica that believes it is another time. */
const startElsewhen = async (shiftMs: () => number, name: string) => {
  const clock: Clock = {
    now: () => Date.now() + shiftMs(),
    monotonic: () => systemClock.monotonic(),
  };
  const config = readConfig({ ...environment(stores), INSTANCE_NAME: name, SESSION_LIMIT_PER_MINUTE: '0' });
  const app = await createApp(config, { clock, random: systemRandom, log: createInMemoryLog() });
  stack.use(app);
  return (method: string, path: string, token: string, json?: object) => request(app, method, path, token, json);
};
const request = async (app: SessionServiceApp, method: string, path: string, token: string, json?: object) => {
  const response = await fetch(`http://127.0.0.1:${app.port}${path}`, {
    method,
    headers: { authorization: `Bearer ${token}`, ...(json ? { 'content-type': 'application/json' } : {}) },
    ...(json ? { body: JSON.stringify(json) } : {}),
  });
  const text = await response.text();
  return { status: response.status, body: text ? JSON.parse(text) : undefined };
};

describe('clock skew', () => {
  test.each([-300_000, 300_000])(
    '[SE9] given a replica whose clock is off by %i ms, it stores the instants of the database and refuses no session',
    async (shift) => {
      const call = await startElsewhen(() => shift, `shifted-${shift}`);
      const opened = await call('POST', '/v1/sessions', SERVICE_KEY, { user_id: 'u_skew' });
      expect(opened.status).toBe(201);
      const { id, token } = opened.body;
      expect(Math.abs(Date.parse(opened.body.created_at) - Date.now())).toBeLessThan(5000);
      expect(
        Math.abs(Date.parse(opened.body.expires_at) - Date.parse(opened.body.created_at) - 30 * 24 * HOUR),
      ).toBeLessThan(1000);
      expect((await call('GET', '/v1/session', token)).status).toBe(200);
      expect((await check(token)).status).toBe(200);
      expect((await call('DELETE', `/v1/sessions/${id}`, SERVICE_KEY)).status).toBe(204);
      expect((await check(token)).status).toBe(401);
      const [row] = await sql('SELECT ended_at, last_seen_at FROM sessions WHERE id = $1', [id]);
      expect(Math.abs(row.ended_at.getTime() - Date.now())).toBeLessThan(5000);
    },
  );

  test('[SE9] given a clock that steps back an hour, keys expire and no ended session is accepted', async () => {
    let shift = 0;
    const call = await startElsewhen(() => shift, 'stepping');
    const before = (await call('POST', '/v1/sessions', SERVICE_KEY, { user_id: 'u_step' })).body;
    const over = (await call('POST', '/v1/sessions', SERVICE_KEY, { user_id: 'u_step' })).body;
    await call('DELETE', `/v1/sessions/${over.id}`, SERVICE_KEY);
    shift = -HOUR;
    const after = (await call('POST', '/v1/sessions', SERVICE_KEY, { user_id: 'u_step' })).body;
    for (const { token } of [before, after]) {
      expect((await call('GET', '/v1/session', token)).status).toBe(200);
    }
    expect((await call('GET', '/v1/session', over.token)).status).toBe(401);
    expect((await call('POST', '/v1/session/rotate', before.token)).status).toBe(200);
    const keys = await redis.keys(`${stores.redisPrefix}s:*`);
    const lives = await Promise.all(keys.map((key) => redis.pttl(key)));
    expect(lives.filter((life) => life === -1)).toEqual([]);
    const ended = await call('DELETE', `/v1/sessions/${after.id}`, SERVICE_KEY);
    expect(ended.status).toBe(204);
    const entries = await redis.xrange(`${stores.redisPrefix}{bus}log`, '-', '+');
    const ids = entries.map(([id]) => id.split('-').map(Number) as [number, number]);
    const sorted = ids.toSorted((a, b) => a[0] - b[0] || a[1] - b[1]);
    expect(ids).toEqual(sorted);
  });
});

describe('idleness', () => {
  const silentFor = async (id: string, ms: number) => {
    await sql(
      `UPDATE sessions SET last_seen_at = now() - make_interval(secs => idle_seconds) + make_interval(secs => $2),
       created_at = now() - interval '20 days', rev = rev + 1 WHERE id = $1`,
      [id, -ms / 1000],
    );
    await forget(id);
  };

  test('[SE9] given the idle limit, a session is live just before it and idle just after', async () => {
    const [within, beyond] = [await login(), await login()];
    await silentFor(within.id, -2000);
    await silentFor(beyond.id, 1);
    expect((await check(within.token)).status).toBe(200);
    expect((await check(beyond.token)).body).toMatchObject({
      type: '/problems/session-ended',
      end_reason: 'idle',
    });
  });

  test('[SE79] given pending activity, an idle snapshot does not end the session', async () => {
    const { id, token } = await login();
    await silentFor(id, 60_000);
    // Another replica saw the client a moment ago; Postgres does not know yet.
    await using own = await openRedis(
      {
        url: stores.redisUrl,
        prefix: stores.redisPrefix,
        maxConnections: 2,
        connectTimeoutMs: 1000,
        commandTimeoutMs: 1000,
        name: 'touching',
      },
      { log: createInMemoryLog(), metrics: createMetrics({ service: 'test', version: '0' }) },
    );
    await createTouchBuffer({ redis: own }).add([{ id: id as SessionId, at: Date.now() }]);
    expect((await check(token)).status).toBe(200);
  });
});

test('[SE85] given activity, extension, rotation and step-up, the absolute expiry stays', async () => {
  const { id, token } = await login();
  const [{ at }] = await sql(
    `UPDATE sessions SET created_at = now() - interval '1 day', expires_at = date_trunc('milliseconds', now()) + interval '3 seconds', rev = rev + 1
     WHERE id = $1 RETURNING expires_at AS at`,
    [id],
  );
  await forget(id);
  const expiry = async () => (await sql('SELECT expires_at AS at FROM sessions WHERE id = $1', [id]))[0].at;
  expect((await check(token)).status).toBe(200);
  expect((await service.service('POST', `/v1/sessions/${id}/extend`)).status).toBe(200);
  const rotated = await service.bearer(token, 'POST', '/v1/session/rotate');
  expect(rotated.status).toBe(200);
  const raised = await service.service('POST', `/v1/sessions/${id}/step-up`, { aal: 2 });
  expect(raised.status).toBe(200);
  expect((await expiry()).getTime()).toBeLessThanOrEqual(at.getTime());
  await until(async () => (await check(raised.body.token)).body.end_reason === 'expired', {
    what: 'the expiry',
    timeoutMs: 5000,
  });
  expect(Date.now()).toBeGreaterThanOrEqual(at.getTime() - 50);
  for (const act of ['extend', 'step-up']) {
    const { status } = await service.service(
      'POST',
      `/v1/sessions/${id}/${act}`,
      act === 'extend' ? undefined : { aal: 2 },
    );
    expect(status).toBe(409);
  }
  expect((await service.bearer(raised.body.token, 'POST', '/v1/session/rotate')).status).toBe(401);
  expect((await check(raised.body.token)).status).toBe(401);
});

describe('after a rotation', () => {
  const graceEndsIn = async (id: string, seconds: number) => {
    await sql('UPDATE sessions SET prev_until = now() + make_interval(secs => $2), rev = rev + 1 WHERE id = $1', [
      id,
      seconds,
    ]);
    await forget(id);
  };

  test('[SE30] given a client that never received the new secret, the previous secret stays valid', async () => {
    const { id, token } = await login();
    await service.bearer(token, 'POST', '/v1/session/rotate');
    await sql(
      `UPDATE sessions SET rotated_at = rotated_at - interval '1 hour', prev_until = prev_until - interval '1 hour', rev = rev + 1 WHERE id = $1`,
      [id],
    );
    await forget(id);
    for (let n = 0; n < 3; n += 1) expect((await check(token)).status).toBe(200);
  });

  test('[SE30] [SE83] given the end of the grace period, the previous secret is valid a second before and late a second after', async () => {
    const { id, token } = await login();
    const { body } = await service.bearer(token, 'POST', '/v1/session/rotate');
    await check(body.token);
    await graceEndsIn(id, 1.5);
    const cookie = { cookie: `session_id=${encodeURIComponent(`s:${token}`)}` };
    const inTime = await service.call('GET', '/v1/session', { headers: cookie });
    expect(inTime.status).toBe(200);
    expect(inTime.headers.get('set-cookie')).toBeNull();
    await graceEndsIn(id, -1);
    const late = await service.call('GET', '/v1/session', { headers: cookie });
    expect(late.body.type).toBe('/problems/stale-token');
    const events = await sql(
      `SELECT detail FROM session_events WHERE session_id = $1 AND type = 'session.reuse_detected'`,
      [id],
    );
    expect(events).toMatchObject([{ detail: { kind: 'late' } }]);
    expect((await check(body.token)).status).toBe(200);
  });
});
