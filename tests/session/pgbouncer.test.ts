import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { createMetrics } from '@muster/kit/metrics';
import { findPgbouncer, pgbouncerServer } from '@muster/local/pgbouncer';
import { freePorts } from '@muster/local/ports';
import type { Program } from '@muster/local/programs';
import { migrate } from '@muster/session-service/postgres/migration-runner';
import { openPostgres } from '@muster/session-service/postgres/pool';
import { createInMemoryLog } from '@muster/testkit/in-memory-log';
import { useTestStores } from '@muster/testkit/stores';
import { withClient } from '@muster/testkit/template';
import { openTestDirectory, type TestDirectory } from '@muster/testkit/test-directory';
import { until } from '@muster/testkit/wait';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { startService, type TestService } from './fixture.ts';

const GUIDE = readFileSync(new URL('../../docs/operations/stores.md', import.meta.url), 'utf8');
/** The fenced block of the guide that contains this text. */
const blockOf = (language: string, contains: string): string => {
  const blocks = [...GUIDE.matchAll(new RegExp(`\`\`\`${language}\\n([\\s\\S]*?)\`\`\``, 'g'))];
  const found = blocks.map(([, text = '']) => text).find((text) => text.includes(contains));
  if (found === undefined) throw new Error(`the guide has no ${language} block with ${contains}`);
  return found;
};
const INI = blockOf('ini', '[pgbouncer]');
const ALTER_ROLE = blockOf('sql', 'ALTER ROLE');
const USERLIST = blockOf('sql', 'pg_authid');

const stores = useTestStores();
const role = `muster_${randomBytes(4).toString('hex')}`;
const password = randomBytes(12).toString('hex');
let stack: AsyncDisposableStack;
let directory: TestDirectory;
let program: Program;
let userlist = '';
let direct: URL;
let isOld = false;

const asAdmin = (...statements: string[]): Promise<Record<string, string>[]> =>
  withClient(stores.databaseUrl, async (client) => {
    let rows: Record<string, string>[] = [];
    for (const one of statements) ({ rows } = await client.query(one));
    return rows;
  });

beforeAll(async () => {
  stack = new AsyncDisposableStack();
  directory = stack.use(await openTestDirectory());
  program = await findPgbouncer({ env: process.env, log: (line) => void process.stdout.write(`${line}\n`) });
  const version = execFileSync(program.path, ['--version'], { encoding: 'utf8' });
  const [, major, minor] = /(\d+)\.(\d+)/.exec(version) ?? [];
  isOld = Number(major) === 1 && Number(minor) < 21;
  const url = new URL(stores.databaseUrl);
  const database = url.pathname.slice(1);
  await asAdmin(`CREATE ROLE ${role} LOGIN PASSWORD '${password}'`, `ALTER DATABASE ${database} OWNER TO ${role}`);
  stack.defer(() =>
    asAdmin(
      `DROP OWNED BY ${role} CASCADE`,
      `ALTER DATABASE ${database} OWNER TO CURRENT_USER`,
      `DROP ROLE ${role}`,
    ).then(() => {}),
  );
  await asAdmin(ALTER_ROLE.replaceAll('ROLE muster', `ROLE ${role}`));
  const [found] = await asAdmin(USERLIST.replace(`'muster'`, `'${role}'`));
  userlist = `${found?.['format']}\n`;
  expect(userlist).toContain('SCRAM-SHA-256$');
  direct = new URL(Object.assign(url, { username: role, password }).href);
  // As the guide has it: the migration is a step of its own, with the direct address of the primary.
  await migrate(direct.href);
});
afterAll(() => stack.disposeAsync());

/** PgBouncer from the file of the guide, at this machine's addresses. */
const startBouncer = async (edit: (ini: string) => string = (ini) => ini): Promise<URL> => {
  const [port = 0] = await freePorts(1);
  const place = join(directory.path, `pgbouncer-${port}`);
  const authFile = join(place, 'userlist.txt');
  const ini = edit(INI)
    .replace(
      /^muster = .*$/m,
      `muster = host=${direct.hostname} port=${direct.port} dbname=${direct.pathname.slice(1)}`,
    )
    .replace(/^listen_addr = .*$/m, 'listen_addr = 127.0.0.1\nunix_socket_dir =')
    .replace(/^listen_port = .*$/m, `listen_port = ${port}`)
    .replace(/^auth_file = .*$/m, `auth_file = ${authFile}`)
    // As the guide describes for versions before 1.21.
    .replace(/^max_prepared_statements = .*$/m, (line) => (isOld ? `; ${line}` : line));
  const child = await directory.start(
    pgbouncerServer({
      program,
      port,
      configFile: join(place, 'pgbouncer.ini'),
      config: ini,
      userlist: { file: authFile, text: userlist },
      logFile: join(place, 'pgbouncer.log'),
      env: process.env,
      log: () => {},
    }),
  );
  stack.defer(async () => void (await child.stop({ signal: 'SIGTERM', deadlineMs: 2_000 })));
  return new URL(`postgres://${role}:${password}@127.0.0.1:${port}/muster`);
};

const serviceAt = async (databaseUrl: string): Promise<TestService> =>
  stack.use(
    await startService(
      { databaseUrl, redisUrl: stores.redisUrl, redisPrefix: stores.redisPrefix },
      {
        MIGRATE: 'off',
        EXPECTED_REPLICAS: '1',
        REPLICA_SURGE: '0',
        SWEEP_INTERVAL_MS: '200',
        ...(isOld ? { PG_PREPARED_STATEMENTS: 'off' } : {}),
      },
    ),
  );
const reasonAt = async (service: TestService): Promise<string | undefined> => {
  const { checks } = (await (await fetch(`${service.opsUrl}/health`)).json()) as {
    checks: { database: { reason?: string } };
  };
  return checks.database.reason;
};

test('[DB8] given PgBouncer as the guide configures it, logins, reads, changes and ends work', async () => {
  const address = await startBouncer();
  const service = await serviceAt(address.href);
  const opened = await Promise.all(
    Array.from({ length: 60 }, (_, n) => service.service('POST', '/v1/sessions', { user_id: `u_${n % 7}` })),
  );
  expect(new Set(opened.map(({ status }) => status))).toEqual(new Set([201]));
  const [first, second, third] = opened.map(({ body }) => body);
  const answers = await Promise.all([
    ...opened.map(({ body }) => service.bearer(body.token, 'GET', '/v1/session')),
    ...opened.slice(0, 30).map(({ body }) => service.service('GET', `/v1/sessions/${body.id}`)),
    service.bearer(second.token, 'GET', '/v1/me/sessions'),
    service.service('PATCH', `/v1/sessions/${second.id}`, { data: { a: 1 } }, { 'if-match': '*' }),
    service.bearer(third.token, 'POST', '/v1/session/rotate'),
    service.service('PUT', '/v1/users/u_1', { max_sessions: 20 }),
    service.service('GET', '/v1/events'),
  ]);
  expect(answers.filter(({ status }) => status !== 200).map(({ body }) => body)).toEqual([]);
  const ends = await Promise.all(
    opened.slice(10).map(({ body }) => service.service('DELETE', `/v1/sessions/${body.id}`)),
  );
  expect(new Set(ends.map(({ status }) => status))).toEqual(new Set([204]));
  expect((await service.bearer(opened[20]?.body.token, 'GET', '/v1/session')).status).toBe(401);
  expect((await service.bearer(first.token, 'GET', '/v1/session')).status).toBe(200);
  expect(await reasonAt(service)).toBeUndefined();
  // PgBouncer ignores the limits that the service sends: the role has to set them.
  const limits = await withClient(address.href, async (client) =>
    (
      await client.query(
        `SELECT name, setting FROM pg_settings
         WHERE name IN ('statement_timeout', 'lock_timeout', 'idle_in_transaction_session_timeout') ORDER BY name`,
      )
    ).rows.map(({ setting }) => Number(setting)),
  );
  expect(limits).toEqual([10_000, 2_000, 5_000]);
  expect(service.log.of('postgres.no_statement_timeout')).toEqual([]);
});

test('[HL11] [DB8] given PgBouncer without its line for start-up parameters, the response is 503 and health has the reason', async () => {
  const address = await startBouncer((ini) => ini.replace(/^ignore_startup_parameters.*$/m, ''));
  const service = await serviceAt(address.href);
  await until(async () => (await reasonAt(service)) !== undefined, { what: 'a failed check' });
  expect(await reasonAt(service)).toBe('startup_parameter');
  const login = await service.service('POST', '/v1/sessions', { user_id: 'u' });
  expect(login.status).toBe(503);
  expect(Number(login.headers.get('retry-after'))).toBeGreaterThan(0);
});

test('[DB8] given a role without the time limits, there is one warning', async () => {
  const names = ['statement_timeout', 'lock_timeout', 'idle_in_transaction_session_timeout'];
  await asAdmin(...names.map((name) => `ALTER ROLE ${role} RESET ${name}`));
  const log = createInMemoryLog();
  await using postgres = openPostgres(
    {
      url: (await startBouncer()).href,
      poolSize: 1,
      maxOverflow: 0,
      poolTimeoutMs: 5_000,
      preparedStatements: !isOld,
      applicationName: 'pgbouncer-test',
    },
    { log, metrics: createMetrics({ service: 'test', version: '0' }) },
  );
  for (let times = 0; times < 3; times += 1) await postgres.ping();
  expect(log.of('postgres.no_statement_timeout')).toHaveLength(1);
});

test.each([
  ['auth', (url: URL) => Object.assign(url, { password: 'wrong' })],
  ['wrong_database', (url: URL) => Object.assign(url, { pathname: '/mustard' })],
])('[HL11] %s is named behind PgBouncer, too', async (reason, spoil) => {
  const address = spoil(await startBouncer());
  const service = await serviceAt(address.href);
  await until(async () => (await reasonAt(service)) !== undefined, { what: 'a failed check' });
  expect(await reasonAt(service)).toBe(reason);
});
