import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { type AddressInfo, createServer } from 'node:net';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import type { FleetDescription } from '@muster/fleet/fleet-description';
import { expect, test } from 'vitest';
import { FAKE_ENTRY_POINTS } from './entry-points.ts';
import { fakeFleet, isRunning, ownStores, temporaryDirectory } from './fake-fleet.ts';

const MAIN = fileURLToPath(new URL('../../deploy/fleet/src/main.ts', import.meta.url));
const run = promisify(execFile);

const modeOf = (path: string): string => (statSync(path).mode & 0o777).toString(8);

const environmentOf = async (url: string): Promise<Record<string, string | undefined>> => {
  const answer = (await (await fetch(url)).json()) as { environment: Record<string, string | undefined> };
  return answer.environment;
};

/** Occupies a port of this machine. */
const holdPort = async () => {
  const server = createServer();
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  return { port, [Symbol.dispose]: () => void server.close() };
};

test('[LA1] an unknown option ends the command with one line and exit code 2', async () => {
  await expect(run(process.execPath, [MAIN, '--gatways', '3'])).rejects.toMatchObject({
    code: 2,
    stderr: expect.stringContaining("'--gatways'"),
  });
});

test('[LA1] --help prints every option and starts nothing', async () => {
  const { stdout } = await run(process.execPath, [MAIN, '--help']);
  for (const option of [
    '--gateways',
    '--sessions',
    '--direct',
    '--port',
    '--base-port',
    '--data',
    '--fresh',
    '--observability',
    '--help',
  ]) {
    expect(stdout).toContain(option);
  }
});

test('[LA2] [LA3] [LA7] [LA26] [LA28] services get the variables of the caller and the secrets, and fleet.json describes the fleet', async () => {
  using directory = temporaryDirectory();
  const file = join(directory.path, 'fleet.json');
  const env = { GUEST_SESSIONS: 'off', PLAIN_SWEEP_MS: '500', SERVICE_API_KEYS: 'sk_given,sk_older' };
  await using started = await fakeFleet(directory.path, { env, sessions: 2 });
  const { fleet } = started;

  expect(modeOf(file)).toBe('600');
  const described = JSON.parse(readFileSync(file, 'utf8')) as FleetDescription;
  expect(described).toEqual(fleet.describe());
  expect(described).toMatchObject({
    publicUrl: fleet.publicUrl,
    serviceApiKey: 'sk_given',
    pid: process.pid,
  });
  const members = [...described.sessionServices, ...described.gateways, ...described.healthAggregators];
  expect(members.map(({ name }) => name)).toEqual([
    'session-service-1',
    'session-service-2',
    'ws-gateway-1',
    'ws-gateway-2',
    'health-aggregator-1',
  ]);
  for (const { pid } of members) expect(isRunning(pid)).toBe(true);

  const seen = await Promise.all(members.map(({ url }) => environmentOf(url)));
  expect(seen.map((each) => each['INSTANCE_NAME'])).toEqual(members.map(({ name }) => name));
  for (const each of seen) expect(each).toMatchObject(env);
  expect(modeOf(join(directory.path, 'secrets.json'))).toBe('600');
  const kept = JSON.parse(readFileSync(join(directory.path, 'secrets.json'), 'utf8'));
  expect(new Set(seen.map((each) => each['SESSION_SECRETS']))).toEqual(new Set([kept.sessionSecrets]));
  expect(Buffer.byteLength(kept.sessionSecrets)).toBeGreaterThanOrEqual(32);
  expect(described.serverApiKey).toBe(kept.serverApiKeys);
  expect(described.opsToken).toBe(kept.opsToken);

  await fleet.stop();
  expect(existsSync(file)).toBe(false);
});

test('[LA25] secrets stay the same over a restart', async () => {
  using directory = temporaryDirectory();
  const secretsOf = async () => {
    await using started = await fakeFleet(directory.path, { gateways: 1 });
    const environment = await environmentOf(started.fleet.describe().gateways[0]!.url);
    return [environment['SESSION_SECRETS'], environment['INTERNAL_API_KEY'], environment['SERVER_API_KEYS']];
  };
  expect(await secretsOf()).toEqual(await secretsOf());
});

test('[LA4] a port in use is named with its option and its holder, and nothing was started', async () => {
  using directory = temporaryDirectory();
  using held = await holdPort();
  const starting = fakeFleet(directory.path, { port: held.port });
  await expect(starting).rejects.toThrow(`port ${held.port} for the load balancer is in use by pid ${process.pid}`);
  await expect(starting).rejects.toThrow('choose another with --port');
  expect(existsSync(join(directory.path, 'logs'))).toBe(false);
});

test('[LA4] the directory is unlocked after a rejected start', async () => {
  using directory = temporaryDirectory();
  using held = await holdPort();
  await expect(fakeFleet(directory.path, { port: held.port })).rejects.toThrow('in use');
  await using _started = await fakeFleet(directory.path, { gateways: 1 });
});

test('[LA5] a second launcher in the same directory is refused with the pid of the first', async () => {
  using directory = temporaryDirectory();
  await using _first = await fakeFleet(directory.path, { gateways: 1 });
  await expect(fakeFleet(directory.path, { gateways: 1 })).rejects.toThrow(
    `a fleet is already running in ${directory.path} (pid ${process.pid})`,
  );
});

test('[LA8] [LA27] a store that does not answer is named by its variable, and the other store is stopped', async () => {
  using directory = temporaryDirectory();
  const env = { ...ownStores(), REDIS_URL: 'redis://127.0.0.1:1' };
  await expect(fakeFleet(directory.path, { env })).rejects.toThrow(
    'REDIS_URL: no Redis accepts connections at 127.0.0.1:1',
  );
  expect(existsSync(join(directory.path, 'postgres', 'PG_VERSION'))).toBe(true);
  expect(await processesOf(directory.path)).toEqual([]);
});

/** Processes whose command line contains a path. */
const processesOf = async (path: string): Promise<string[]> => {
  const { stdout } = await run('ps', ['-axo', 'pid=,command=']);
  return stdout.split('\n').filter((line) => line.includes(path));
};

test('[LA6] stores of the caller are used, and none is started', async () => {
  using directory = temporaryDirectory();
  await using started = await fakeFleet(directory.path, { gateways: 1 });
  expect(existsSync(join(directory.path, 'postgres'))).toBe(false);
  expect(() => started.fleet.lastLines('postgres')).toThrow('unknown process postgres');
  expect(started.fleet.describe().redisUrl).toBe(
    (await environmentOf(started.fleet.describe().gateways[0]!.url))['REDIS_URL'],
  );
});

test('[LA8] a child that cannot start is reported with its last lines, and the others are stopped', async () => {
  using directory = temporaryDirectory();
  const broken = join(directory.path, 'broken.mjs');
  writeFileSync(broken, "console.error('no such setting: X'); process.exit(4);");
  const started: string[] = [];
  const starting = fakeFleet(directory.path, {
    entryPoints: { ...FAKE_ENTRY_POINTS, 'ws-gateway': broken },
    log: (line) => started.push(line),
    gateways: 1,
  });
  await expect(starting).rejects.toThrow(/ws-gateway-1 ended while starting \(exit code 4\)\n +no such setting: X/);
  expect(existsSync(join(directory.path, 'launcher.json'))).toBe(false);
  expect(existsSync(join(directory.path, 'fleet.json'))).toBe(false);
});

test('[LA29] an aborted start leaves no process', async () => {
  using directory = temporaryDirectory();
  const giveUp = new AbortController();
  const silent = join(directory.path, 'silent.mjs');
  writeFileSync(silent, 'setInterval(() => {}, 1000);');
  const pids: number[] = [];
  const starting = fakeFleet(directory.path, {
    env: ownStores(),
    entryPoints: { ...FAKE_ENTRY_POINTS, 'session-service': silent },
    signal: giveUp.signal,
    log: (line) => {
      if (!line.startsWith('ws-gateway-1 is ready')) return;
      const known = JSON.parse(readFileSync(join(directory.path, 'launcher.json'), 'utf8')) as {
        children: { pid: number }[];
      };
      pids.push(...known.children.map(({ pid }) => pid));
      giveUp.abort();
    },
  });
  await expect(starting).rejects.toThrow(/abort/i);
  expect(pids.length).toBeGreaterThan(3);
  expect(pids.filter(isRunning)).toEqual([]);
});
