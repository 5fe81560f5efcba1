import { migrate } from '@muster/session-service/store/migrate';
import { type OwnStore, openOwnPostgres } from '@muster/testkit/own-store';
import { useTestStores } from '@muster/testkit/stores';
import { withClient } from '@muster/testkit/template';
import { until } from '@muster/testkit/wait';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { startService, type TestService } from './session-fixture.ts';

const stores = useTestStores({ migrate });
let stack: AsyncDisposableStack;
let own: OwnStore;
let service: TestService;

beforeAll(async () => {
  stack = new AsyncDisposableStack();
  own = stack.use(await openOwnPostgres());
  await migrate(own.url);
  service = stack.use(
    await startService(
      { databaseUrl: own.url, redisUrl: stores.redisUrl, redisPrefix: stores.redisPrefix },
      { PG_POOL_SIZE: '4', PG_MAX_OVERFLOW: '0' },
    ),
  );
});
afterAll(() => stack.disposeAsync());

const rows = (text: string) => withClient(own.url, async (client) => (await client.query(text)).rows);
/** The connections of requests: all but the one of the health check. */
const serving = async (): Promise<number[]> => {
  const found = await rows(`SELECT pid FROM pg_stat_activity
    WHERE application_name LIKE 'sessions@%' AND query NOT LIKE '%pg_is_in_recovery%'`);
  return found.map(({ pid }) => pid as number);
};
const open = (json: object, headers: Record<string, string> = {}) =>
  service.service('POST', '/v1/sessions', json, headers);
const statements = (operation: string) =>
  service.metric(`db_client_operation_duration_seconds_count{operation="${operation}"}`);
const guest = () => service.call('POST', '/v1/guest-sessions', { json: {} });
const impersonate = () =>
  service.service('POST', '/v1/impersonations', { actor: 'kim', user_id: 'late', reason: 'ticket 7' });

test('[SE58] a login that was answered 503 while Postgres hung makes no session when Postgres goes on', async () => {
  await Promise.all(Array.from({ length: 4 }, (_, n) => open({ user_id: `before_${n}` })));
  // With clocks that agree, a login is one statement.
  expect(await statements('insert_session_if_room')).toBe(4);
  expect(await statements('insert_session')).toBe(0);
  const pids = await serving();
  const signal = (name: NodeJS.Signals) => {
    for (const pid of pids) process.kill(pid, name);
    own.signal(name);
  };
  signal('SIGSTOP');
  const begun = performance.now();
  let answers: { status: number; headers: Headers }[];
  try {
    answers = await Promise.all([
      open({ user_id: 'late' }),
      guest(),
      impersonate(),
      open({ user_id: 'late' }, { 'idempotency-key': 'late-login' }),
      open({ user_id: 'late' }),
    ]);
  } finally {
    signal('SIGCONT');
  }
  // Two seconds for a connection, six for an answer on it.
  expect(performance.now() - begun).toBeLessThan(12_000);
  for (const { status, headers } of answers) {
    expect(status).toBe(503);
    expect(Number(headers.get('retry-after'))).toBeGreaterThan(0);
  }
  // A connection that was given up ends after everything that was sent on it.
  await until(async () => (await serving()).every((pid) => !pids.includes(pid)), {
    what: 'the end of the connections that hung',
    timeoutMs: 15_000,
  });
  expect(
    await rows(`SELECT user_id FROM sessions WHERE user_id NOT LIKE 'before_%' OR user_id IS NULL`),
  ).toEqual([]);
  expect((await open({ user_id: 'after' })).status).toBe(201);
});
