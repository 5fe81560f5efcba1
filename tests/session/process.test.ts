import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { freePorts } from '@muster/local/ports';
import { migrate } from '@muster/session-service/postgres/migration-runner';
import { openFaultProxy } from '@muster/testkit/fault-proxy';
import { useTestStores } from '@muster/testkit/stores';
import { withClient } from '@muster/testkit/template';
import { until } from '@muster/testkit/wait';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { environment, SECRETS, SERVICE_KEY } from './fixture.ts';

const MAIN = fileURLToPath(new URL('../../services/session-service/src/main.ts', import.meta.url));
const stores = useTestStores({ migrate });
const children: ChildProcess[] = [];
let directory: string;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'muster-session-'));
});
afterAll(async () => {
  for (const child of children) child.kill('SIGKILL');
  await rm(directory, { recursive: true });
});

interface Replica {
  readonly url: string;
  readonly child: ChildProcess;
  readonly exit: Promise<number | null>;
}

const start = async (env: NodeJS.ProcessEnv = {}, args: string[] = []): Promise<Replica> => {
  const [port = 0, opsPort = 0] = await freePorts(2);
  const child = spawn(process.execPath, [MAIN, ...args], {
    env: {
      PATH: process.env['PATH'],
      ...environment(stores),
      PORT: String(port),
      OPS_PORT: String(opsPort),
      INSTANCE_NAME: `replica-${port}`,
      ...env,
    },
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  children.push(child);
  const exit = new Promise<number | null>((resolve) => child.once('exit', resolve));
  return { url: `http://127.0.0.1:${port}`, child, exit };
};
const ready = ({ url }: Replica) =>
  until(async () => (await fetch(`${url}/readyz`)).status === 200, {
    what: 'a ready replica',
    timeoutMs: 15_000,
  });

const call = async (url: string, method: string, path: string, token: string, json?: object) => {
  const response = await fetch(url + path, {
    method,
    headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
    ...(json === undefined ? {} : { body: JSON.stringify(json) }),
  });
  const text = await response.text();
  return { status: response.status, body: text ? JSON.parse(text) : undefined };
};
const login = async (url: string) => (await call(url, 'POST', '/v1/sessions', SERVICE_KEY, { user_id: 'u' })).body;
const check = async (url: string, token: string) => (await call(url, 'GET', '/v1/session', token)).status;

test('[SE20] given a kill between commit and Redis, another replica delivers within 2 s, with one event', async () => {
  await using cable = await openFaultProxy(stores.redisUrl);
  const doomed = await start({ REDIS_URL: cable.url });
  const survivor = await start({ OUTBOX_POLL_MS: '500' });
  await Promise.all([ready(doomed), ready(survivor)]);
  const { id, token } = await login(survivor.url);
  expect(await check(survivor.url, token)).toBe(200);
  await cable.blackhole();
  const dying = call(doomed.url, 'DELETE', `/v1/sessions/${id}`, SERVICE_KEY).catch(() => undefined);
  await until(
    () => withClient(stores.databaseUrl, async (client) => (await client.query('SELECT 1 FROM outbox')).rowCount === 1),
    { what: 'the commit', intervalMs: 5 },
  );
  doomed.child.kill('SIGKILL');
  await dying;
  const begun = performance.now();
  await until(async () => (await check(survivor.url, token)) === 401, { what: 'the end', timeoutMs: 2500 });
  expect(performance.now() - begun).toBeLessThan(2000);
  await withClient(stores.databaseUrl, async (client) => {
    const { rowCount } = await client.query(
      `SELECT 1 FROM session_events WHERE session_id = $1 AND type = 'session.ended'`,
      [id],
    );
    expect(rowCount).toBe(1);
  });
  survivor.child.kill('SIGKILL');
});

test('[SE46] given load, keys are replaced without a failed request', async () => {
  const file = join(directory, 'secrets');
  const [first, second] = [SECRETS[0]!, 'a-third-signing-key-0123456789-abcdefghij'];
  await writeFile(file, first);
  const replica = await start({
    SESSION_SECRETS: '',
    SESSION_SECRETS_FILE: file,
    SESSION_LIMIT_PER_MINUTE: '0',
  });
  await ready(replica);
  const { token } = await login(replica.url);
  const statuses: number[] = [];
  let going = true;
  const load = Array.from({ length: 4 }, async () => {
    while (going) statuses.push(await check(replica.url, token));
  });
  await writeFile(file, `${second},${first}`);
  replica.child.kill('SIGHUP');
  const signedBySecond = async () => (await login(replica.url)).token as string;
  await until(
    async () => {
      const fresh = await signedBySecond();
      return fresh.length > 0 && statuses.length > 50;
    },
    { what: 'load after the change' },
  );
  await writeFile(file, 'short');
  replica.child.kill('SIGHUP');
  await until(() => statuses.length > 150, { what: 'load after a broken file' });
  const fresh = await signedBySecond();
  going = false;
  await Promise.all(load);
  expect(new Set(statuses)).toEqual(new Set([200]));
  await writeFile(file, second);
  replica.child.kill('SIGHUP');
  await until(async () => (await check(replica.url, token)) === 401, { what: 'the end of the first key' });
  expect(await check(replica.url, fresh)).toBe(200);
  replica.child.kill('SIGKILL');
});

test('[SE47] given SIGTERM, requests are finished and the exit code is 0', async () => {
  const replica = await start({ DRAIN_DELAY_MS: '300' });
  await ready(replica);
  const { token } = await login(replica.url);
  const outcomes: (number | string)[] = [];
  let going = true;
  const load = Array.from({ length: 4 }, async () => {
    while (going) outcomes.push(await check(replica.url, token).catch(() => 'refused'));
  });
  await until(() => outcomes.length > 20, { what: 'load' });
  replica.child.kill('SIGTERM');
  await until(async () => (await fetch(`${replica.url}/readyz`)).status === 503, {
    what: 'not ready',
    intervalMs: 5,
  });
  expect(await check(replica.url, token)).toBe(200);
  expect(await replica.exit).toBe(0);
  going = false;
  await Promise.all(load);
  expect(outcomes.filter((one) => one !== 200 && one !== 'refused')).toEqual([]);
});

test('[SE47] given --migrate or --check, the process does it and exits', async () => {
  const empty = await stores.createDatabase();
  await withClient(empty, (client) => client.query('DROP SCHEMA public CASCADE; CREATE SCHEMA public'));
  const migration = await start({ DATABASE_URL: empty }, ['--migrate']);
  expect(await migration.exit).toBe(0);
  await withClient(empty, (client) => client.query('SELECT 1 FROM sessions'));
  expect(await (await start({}, ['--check'])).exit).toBe(0);
});

test('[SE48] given no Redis at start, a replica uses Postgres, and Redis once it is available', async () => {
  await using cable = await openFaultProxy(stores.redisUrl);
  await cable.refuse();
  const replica = await start({ REDIS_URL: cable.url, REDIS_CONNECT_TIMEOUT_MS: '1000' });
  await until(async () => (await fetch(`${replica.url}/health`)).status > 0, {
    what: 'a listening replica',
    timeoutMs: 15_000,
  });
  const { token } = await login(replica.url);
  expect(await check(replica.url, token)).toBe(200);
  await cable.pass();
  await until(
    async () => ((await (await fetch(`${replica.url}/health`)).json()) as { status: string }).status === 'healthy',
    {
      what: 'health',
      timeoutMs: 10_000,
    },
  );
  expect(await check(replica.url, token)).toBe(200);
  replica.child.kill('SIGKILL');
});
