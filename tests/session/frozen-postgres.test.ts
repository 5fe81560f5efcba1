import { randomBytes, randomUUID } from 'node:crypto';
import { createMetrics } from '@muster/kit/metrics';
import type { SessionId } from '@muster/session/token';
import { SYSTEM } from '@muster/session-service/core/ports';
import { migrate } from '@muster/session-service/postgres/migration-runner';
import { openPostgres, type Postgres } from '@muster/session-service/postgres/pool';
import { apiKeyQueries } from '@muster/session-service/postgres/queries/api-keys';
import { changeQueries } from '@muster/session-service/postgres/queries/change-session';
import { createSessionQueries } from '@muster/session-service/postgres/queries/create-session';
import { endQueries } from '@muster/session-service/postgres/queries/end-sessions';
import { eventQueries } from '@muster/session-service/postgres/queries/events';
import { touchSessions } from '@muster/session-service/postgres/queries/maintenance';
import { readQueries } from '@muster/session-service/postgres/queries/read-sessions';
import { searchQueries } from '@muster/session-service/postgres/queries/search-sessions';
import { userQueries } from '@muster/session-service/postgres/queries/users';
import { type DedicatedStore, openDedicatedPostgres } from '@muster/testkit/dedicated-store';
import { createInMemoryLog } from '@muster/testkit/in-memory-log';
import { useTestStores } from '@muster/testkit/stores';
import { withClient } from '@muster/testkit/template';
import { until } from '@muster/testkit/wait';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { startService, type TestService } from './fixture.ts';

const stores = useTestStores({ migrate });
/** As many as the writes of one freeze: each is given up, and none stays. */
const DIRECT_CONNECTIONS = 16;
let stack: AsyncDisposableStack;
let own: DedicatedStore;
let service: TestService;
/** The stores of the service, without the reads that its routes make before they write. */
let direct: Postgres;

beforeAll(async () => {
  stack = new AsyncDisposableStack();
  own = stack.use(await openDedicatedPostgres());
  await migrate(own.url);
  service = stack.use(
    await startService(
      { databaseUrl: own.url, redisUrl: stores.redisUrl, redisPrefix: stores.redisPrefix },
      { PG_POOL_SIZE: '5', PG_MAX_OVERFLOW: '0', SWEEP_INTERVAL_MS: '600000' },
    ),
  );
  direct = stack.use(
    openPostgres(
      {
        ...{ url: own.url, poolSize: DIRECT_CONNECTIONS, maxOverflow: 0, poolTimeoutMs: 30_000 },
        ...{ preparedStatements: true, applicationName: 'sessions@direct' },
      },
      { log: createInMemoryLog(), metrics: createMetrics({ service: 'test', version: '0' }) },
    ),
  );
});
afterAll(() => stack.disposeAsync());

const rows = (text: string) => withClient(own.url, async (client) => (await client.query(text)).rows);
/** The connections of requests: all but that of the health check. */
const serving = async (): Promise<number[]> => {
  const found = await rows(`SELECT pid FROM pg_stat_activity
    WHERE application_name LIKE 'sessions@%' AND query NOT LIKE '%pg_is_in_recovery%'`);
  return found.map(({ pid }) => pid as number);
};
/** Rows that a write could have changed, without outbox rows, which the service itself deletes. */
const contents = async (): Promise<Record<string, unknown>> => {
  const tables = ['sessions', 'session_events', 'subjects', 'api_keys', 'idempotency_keys'];
  const found = tables.map(async (table) => [table, await rows(`SELECT * FROM ${table} ORDER BY 1, 2, 3`)]);
  return Object.fromEntries(await Promise.all(found));
};
const open = (json: object, headers: Record<string, string> = {}) =>
  service.service('POST', '/v1/sessions', json, headers);
const statements = (operation: string) =>
  service.metric(`db_client_operation_duration_seconds_count{operation="${operation}"}`);
const guest = () => service.call('POST', '/v1/guest-sessions', { json: {} });
const impersonate = () =>
  service.service('POST', '/v1/impersonations', { actor: 'kim', user_id: 'late', reason: 'ticket 7' });

/** Calls `during` while no connection of a request is answered; resolves when the connections are gone. */
const whileFrozen = async <T>(during: () => Promise<T>): Promise<T> => {
  const pids = await serving();
  const signal = (name: NodeJS.Signals) => {
    for (const pid of pids) process.kill(pid, name);
    own.signal(name);
  };
  signal('SIGSTOP');
  let result: T;
  try {
    result = await during();
  } finally {
    signal('SIGCONT');
  }
  // A connection that was given up ends after everything that was sent on it.
  await until(async () => (await serving()).every((pid) => !pids.includes(pid)), {
    what: 'the end of the connections that hung',
    timeoutMs: 15_000,
  });
  return result;
};

const READS = [
  ...['find', 'findMany', 'list', 'endedWithin', 'changedWithin', 'findByHashes'],
  ...['search', 'findUnended', 'feed', 'eventsOfUser', 'eventsOfSession', 'sessionsOfUser'],
];
interface Existing {
  /** Its secret is 32 zeros. */
  readonly user: SessionId;
  /** Its session is ended with that of the user. */
  readonly guest: SessionId;
  readonly key: string;
}
const ZEROS = Buffer.alloc(32);
const at = { tenant: 'default', userId: 'before' };

/** One call of every method that changes something; each would, if Postgres took it. */
const writesTo = (db: Postgres, { user, guest: guestId, key }: Existing) => {
  const latestUses = async (ids: readonly unknown[]) => ids.map(() => ({ at: undefined, isOnline: false }) as const);
  const all = {
    ...createSessionQueries(db, latestUses),
    ...readQueries(db),
    ...changeQueries(db),
    ...endQueries(db),
    ...searchQueries(db),
    ...eventQueries(db),
    ...userQueries(db),
    ...apiKeyQueries(db),
  };
  const of = { id: user, rev: undefined, actor: SYSTEM };
  const raise = { secretHash: randomBytes(32), aal: 2, amr: ['otp'], authTime: undefined };
  const clocks = { policy: 'standard', idleSeconds: 3600, maxSeconds: 7200 };
  const auth = { time: undefined, aal: 1, amr: [], idp: null, idpSid: null, idpSub: null };
  const writes: Record<string, () => Promise<unknown>> = {
    create: () =>
      all.create(
        {
          ...{ id: randomUUID() as SessionId, tenant: 'default', userId: 'late', kind: 'user', ...clocks },
          ...{ transport: 'bearer', remember: true, secretHash: randomBytes(32), label: null, ip: null },
          client: { kind: 'web', summary: null, userAgent: null, deviceId: null },
          ...{ country: null, auth, actor: null, data: {}, grants: [] },
        },
        { limit: { maxSessions: 5, atLimit: 'evict_idle' }, actor: SYSTEM },
      ),
    end: () => all.end([user], 'admin', SYSTEM),
    endOfUser: () => all.endOfUser(at, 'admin', SYSTEM),
    endOfActors: () => all.endOfActors([user]),
    rotate: () => all.rotate(of, { from: ZEROS, to: randomBytes(32) }),
    confirm: () => all.confirm({ ...of, id: guestId }),
    stepUp: () => all.stepUp(of, raise),
    upgrade: () =>
      all.upgrade(
        { ...of, id: guestId },
        { ...raise, ...clocks, userId: 'before', idp: null, idpSid: null, idpSub: null },
        { limit: { maxSessions: 5, atLimit: 'evict_idle' } },
      ),
    rewrite: () => all.rewrite(of, { label: 'late', data: undefined, grants: undefined }),
    log: () => all.log(user, 'session.late', SYSTEM, {}),
    putRules: () => {
      const rules = { maxSessions: 7, atLimit: undefined, disabled: true, reason: undefined };
      return all.putRules(at, rules, SYSTEM);
    },
    erase: () => all.erase(at, SYSTEM),
    insert: () => {
      const made = { id: randomUUID(), name: 'late', scopes: ['sessions:read' as const], groups: null };
      return all.insert({ ...made, tenant: null }, randomBytes(32), { actor: SYSTEM, reason: undefined });
    },
    revoke: () => all.revoke(key, null, { actor: SYSTEM, reason: undefined }),
    used: () => all.used(key),
  };
  expect([...READS, ...Object.keys(writes)].toSorted()).toEqual(Object.keys(all).toSorted());
  return { ...writes, touch: () => touchSessions(db, [{ id: user, at: Date.now() + 60_000 }]) };
};

/** A user whose session impersonates, a guest whose rotation waits to be confirmed, and an API key. */
const existing = async (): Promise<Existing> => {
  const login = await open({ user_id: 'before' });
  const guestLogin = await service.call('POST', '/v1/guest-sessions', { json: { transport: 'bearer' } });
  const [user, guestId] = [login.body.id as SessionId, guestLogin.body.id as SessionId];
  await service.service('POST', '/v1/impersonations', {
    ...{ actor: 'before', actor_session: user, user_id: 'other', reason: 'ticket 7' },
  });
  const key = await service.service('POST', '/v1/api-keys', { name: 'before', scopes: ['sessions:read'] });
  await withClient(own.url, async (client) => {
    await client.query('UPDATE sessions SET secret_hash = $1 WHERE id = $2', [ZEROS, user]);
    await client.query(`UPDATE sessions SET prev_until = now() + interval '1 day' WHERE id = $1`, [guestId]);
  });
  return { user, guest: guestId, key: key.body.id };
};

test('[SE58] given a 503 while Postgres hung, nothing changes when Postgres continues', async () => {
  await Promise.all(Array.from({ length: 5 }, (_, n) => open({ user_id: `before_${n}` })));
  // With clocks that agree, a login is one statement.
  expect(await statements('insert_session_if_room')).toBe(5);
  expect(await statements('insert_session')).toBe(0);
  const writes = writesTo(direct, await existing());
  await Promise.all(Array.from({ length: DIRECT_CONNECTIONS }, () => direct.query('warm_up', 'SELECT pg_sleep(0.2)')));
  expect(Object.keys(writes)).toHaveLength(DIRECT_CONNECTIONS);
  const before = await contents();
  const begun = performance.now();
  const { answers, written } = await whileFrozen(async () => {
    const [answers, written] = await Promise.all([
      Promise.all([
        open({ user_id: 'late' }),
        guest(),
        impersonate(),
        service.service('POST', '/v1/api-keys', { name: 'late', scopes: ['sessions:read'] }),
        open({ user_id: 'late' }, { 'idempotency-key': 'late-login' }),
        open({ user_id: 'late' }),
      ]),
      Promise.allSettled(Object.values(writes).map((write) => write())),
    ]);
    // Two seconds for a connection, six for an answer on it.
    expect(performance.now() - begun).toBeLessThan(12_000);
    return { answers, written };
  });
  for (const { status, headers } of answers) {
    expect(status).toBe(503);
    expect(Number(headers.get('retry-after'))).toBeGreaterThan(0);
  }
  expect(written).toEqual(
    written.map(() => ({
      status: 'rejected',
      reason: expect.objectContaining({ code: 'DATABASE_UNAVAILABLE' }),
    })),
  );
  expect(await contents()).toEqual(before);
  expect((await open({ user_id: 'after' })).status).toBe(201);
});

test('[SE58] given a Postgres that responds, each of these writes changes data', async () => {
  for (const name of Object.keys(writesTo(direct, await existing()))) {
    const fresh = await existing();
    const before = await contents();
    await writesTo(direct, fresh)[name as 'touch']();
    expect(await contents(), name).not.toEqual(before);
    await service.service('PUT', '/v1/users/before', { disabled: false });
  }
});
