import { migrate } from '@muster/session-service/postgres/migration-runner';
import { useTestStores } from '@muster/testkit/stores';
import { withClient } from '@muster/testkit/template';
import { expect, test } from 'vitest';
import { startService, type TestService } from './fixture.ts';

const stores = useTestStores({ migrate });

/**
 * Schema changes that a next release may add while this release runs: columns without required values, indexes, tables.
 */
const EXPAND = [
  'ALTER TABLE sessions ADD COLUMN next_text text, ADD COLUMN next_flag boolean NOT NULL DEFAULT false',
  'ALTER TABLE session_events ADD COLUMN next_text text',
  'ALTER TABLE subjects ADD COLUMN next_text text',
  `ALTER TABLE api_keys ADD COLUMN next_list text[] NOT NULL DEFAULT '{}'`,
  'ALTER TABLE idempotency_keys ADD COLUMN next_text text',
  'CREATE INDEX sessions_next ON sessions (next_text)',
  `INSERT INTO session_migrations (name, run_on) VALUES ('9999_next', now())`,
];

/** One request of every kind; answers what failed. */
const failuresOf = async (service: TestService, user: string): Promise<unknown[]> => {
  const open = async (headers: Record<string, string> = {}) =>
    (await service.service('POST', '/v1/sessions', { user_id: user }, headers)).body;
  const [own, other, keyed] = [await open(), await open(), await open({ 'idempotency-key': `key-${user}` })];
  const guest = (await service.call('POST', '/v1/guest-sessions', { json: { transport: 'bearer' } })).body;
  const key = (await service.service('POST', '/v1/api-keys', { name: 'n', scopes: ['ops'] })).body;
  const answers = [
    await service.bearer(own.token, 'GET', '/v1/session'),
    await service.bearer(own.token, 'POST', '/v1/session/rotate'),
    await service.service('GET', `/v1/sessions?user_id=${user}`),
    await service.service('GET', `/v1/users/${user}/sessions`),
    await service.service('PATCH', `/v1/sessions/${other.id}`, { label: 'x', grants: [] }),
    await service.service('POST', `/v1/sessions/${other.id}/step-up`, { aal: 2 }),
    await service.service('POST', `/v1/sessions/${other.id}/extend`),
    await service.service('POST', `/v1/sessions/${guest.id}/upgrade`, { user_id: user }),
    await service.service('PUT', `/v1/users/${user}`, { max_sessions: 9 }),
    await service.service('DELETE', `/v1/sessions/${keyed.id}`),
    await service.service('DELETE', `/v1/api-keys/${key.id}`),
    await service.service('GET', '/v1/events?limit=5'),
    await service.service('GET', `/v1/users/${user}/export`),
    await service.internal('POST', '/internal/sessions/check', { ids: [own.id, keyed.id] }),
    await service.service('DELETE', `/v1/users/${user}`),
  ];
  return answers.filter(({ status }) => status >= 300).map(({ status, body }) => ({ status, body }));
};

test('[MG2] given existing indexes, valid indexes are kept and an invalid index is built again', async () => {
  const indexes = () =>
    withClient(stores.databaseUrl, async (client) => {
      const { rows } = await client.query<{ indexdef: string; oid: number; indisvalid: boolean }>(
        `SELECT indexdef, indexrelid::int AS oid, indisvalid FROM pg_indexes JOIN pg_index ON indexrelid = indexname::regclass
         WHERE tablename = 'sessions' ORDER BY indexname`,
      );
      return new Map(rows.map((row) => [row.indexdef, row]));
    });
  const before = await indexes();
  expect(before.size).toBeGreaterThan(7);
  await withClient(stores.databaseUrl, async (client) => {
    await client.query(`DELETE FROM session_migrations WHERE name ~ '^00(09|1)'`);
    await client.query('ALTER TABLE api_keys DROP COLUMN groups');
    await client.query('DROP INDEX sessions_by_device');
    await client.query(`INSERT INTO sessions (id, tenant_id, kind, policy, transport, secret_hash, client_kind, idle_seconds,
        expires_at, idle_check_at) SELECT gen_random_uuid(), 'default', 'guest', 'guest', 'bearer', sha256('x'), 'web', 0,
        now() + interval '1 day', 'infinity' FROM generate_series(1, 2)`);
    const failing = 'CREATE UNIQUE INDEX CONCURRENTLY sessions_by_device ON sessions (tenant_id)';
    await expect(client.query(failing)).rejects.toThrow('could not create unique index');
  });
  expect([...(await indexes()).values()].some(({ indisvalid }) => !indisvalid)).toBe(true);
  expect((await migrate(stores.databaseUrl)).map((name) => name.slice(0, 4))).toEqual(['0009', '0010', '0011']);
  const after = await indexes();
  expect([...after.keys()]).toEqual([...before.keys()]);
  for (const [definition, { oid, indisvalid }] of after) {
    expect(indisvalid).toBe(true);
    if (!definition.includes('sessions_by_device')) expect(oid).toBe(before.get(definition)?.oid);
  }
});

test('[MG1] given the schema of the next release, a running replica continues and a new replica starts', async () => {
  const env = { PG_POOL_SIZE: '2', PG_MAX_OVERFLOW: '0', SWEEP_INTERVAL_MS: '100' };
  await using running = await startService(stores, env);
  // Its connections have every statement prepared before the schema changes under them.
  expect(await failuresOf(running, 'before')).toEqual([]);
  await withClient(stores.databaseUrl, async (client) => {
    for (const statement of EXPAND) await client.query(statement);
  });
  expect(await failuresOf(running, 'after')).toEqual([]);
  await using restarted = await startService(stores, env);
  expect(await failuresOf(restarted, 'again')).toEqual([]);
});
