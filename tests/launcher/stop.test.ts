import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { FleetDescription } from '@muster/fleet/fleet-description';
import { startChild } from '@muster/local/child-process';
import { until } from '@muster/testkit/wait';
import { expect, test } from 'vitest';
import { fakeFleet, isRunning, ownStores, sharedStores, temporaryDirectory } from './fake-fleet.ts';

const FAKE_LAUNCHER = fileURLToPath(new URL('./fake-launcher.ts', import.meta.url));

const childrenOf = (dataDir: string): { name: string; pid: number }[] =>
  (
    JSON.parse(readFileSync(join(dataDir, 'launcher.json'), 'utf8')) as {
      children: { name: string; pid: number }[];
    }
  ).children;

/** A process outside the fleet. */
const bystander = (directory: string) =>
  startChild({
    name: 'bystander',
    command: process.execPath,
    args: ['-e', 'setInterval(() => {}, 1000)'],
    env: process.env,
    logFile: join(directory, 'bystander.log'),
  });

/** The launcher in its own process, ready. */
const launcherProcess = async (dataDir: string, env: NodeJS.ProcessEnv) => {
  const launcher = spawn(process.execPath, [FAKE_LAUNCHER, '--data', dataDir, '--port', '0', '--base-port', '0'], {
    env: { ...process.env, ...env },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const out = { text: '' };
  launcher.stdout.on('data', (data) => {
    out.text += String(data);
  });
  const ended = new Promise<number | null>((resolve) => launcher.once('exit', (code) => resolve(code)));
  const isUp = until(() => out.text.includes('Muster is up'), { what: 'the launcher', timeoutMs: 20_000 });
  const endedEarly = ended.then((code) => {
    throw new Error(`it ended with code ${code}`);
  });
  endedEarly.catch(() => {});
  await Promise.race([isUp, endedEarly]).catch((cause) => {
    throw new Error(`the launcher did not start; output: ${out.text}`, { cause });
  });
  return { launcher: launcher as ChildProcess, out, ended };
};

test('[LA12] [LA13] gateways drain first, then the other services; every child is stopped and no other process', async () => {
  using directory = temporaryDirectory();
  const requestLog = join(directory.path, 'requestLog');
  const other = await bystander(directory.path);
  await using started = await fakeFleet(directory.path, { env: { ...ownStores(), REQUEST_LOG: requestLog } });
  const children = childrenOf(directory.path);
  expect(children.map(({ name }) => name).sort()).toEqual([
    'haproxy',
    'health-aggregator-1',
    'postgres',
    'redis',
    'session-service-1',
    'ws-gateway-1',
    'ws-gateway-2',
  ]);
  await started.fleet.stop();
  expect(children.filter(({ pid }) => isRunning(pid))).toEqual([]);
  expect(other.isRunning()).toBe(true);
  await other.stop({ signal: 'SIGKILL', deadlineMs: 1_000 });

  const drained = readFileSync(requestLog, 'utf8').trim().split('\n');
  expect(new Set(drained.slice(0, 2))).toEqual(new Set(['ws-gateway-1 drained', 'ws-gateway-2 drained']));
  expect(new Set(drained.slice(2))).toEqual(new Set(['session-service-1 drained', 'health-aggregator-1 drained']));
  expect(started.logLines.filter((line) => line.includes('restarts'))).toEqual([]);
});

test('[LA33] a child that does not end in time is killed and named', async () => {
  using directory = temporaryDirectory();
  const env = { IGNORES_SIGTERM: 'ws-gateway-2', DRAIN_TIMEOUT_MS: '100' };
  await using started = await fakeFleet(directory.path, { env });
  const { pid } = started.fleet.describe().gateways[1]!;
  await started.fleet.stop();
  expect(isRunning(pid)).toBe(false);
  expect(started.logLines).toContainEqual(expect.stringMatching(/^ws-gateway-2 did not end within .* and was killed$/));
});

test('[LA15] three signals of one Ctrl-C count as one request: the fleet drains, and the exit code is 0', async () => {
  using directory = temporaryDirectory();
  const requestLog = join(directory.path, 'requestLog');
  const { launcher, out, ended } = await launcherProcess(directory.path, {
    ...sharedStores(),
    REQUEST_LOG: requestLog,
  });
  const children = childrenOf(directory.path);
  launcher.kill('SIGINT');
  launcher.kill('SIGINT');
  launcher.kill('SIGTERM');
  expect(await ended).toBe(0);
  expect(out.text).toContain('Stopped.');
  expect(children.filter(({ pid }) => isRunning(pid))).toEqual([]);
  expect(readFileSync(requestLog, 'utf8').trim().split('\n')).toHaveLength(4);
  expect(existsSync(join(directory.path, 'launcher.json'))).toBe(false);
});

test('[LA34] a second signal kills every child', async () => {
  using directory = temporaryDirectory();
  const env = { ...sharedStores(), IGNORES_SIGTERM: 'ws-gateway-1', DRAIN_TIMEOUT_MS: '60000' };
  const { launcher, ended } = await launcherProcess(directory.path, env);
  const children = childrenOf(directory.path);
  const startedAt = performance.now();
  launcher.kill('SIGINT');
  const again = setInterval(() => launcher.kill('SIGINT'), 600);
  expect(await ended).toBe(1);
  clearInterval(again);
  expect(performance.now() - startedAt).toBeLessThan(5_000);
  await until(() => children.every(({ pid }) => !isRunning(pid)), { what: 'every child to be gone' });
});

test('[LA16] the next start stops the children of a killed launcher, and no other process', async () => {
  using directory = temporaryDirectory();
  const other = await bystander(directory.path);
  const { launcher, ended } = await launcherProcess(directory.path, ownStores());
  const left = childrenOf(directory.path);
  const { databaseUrl } = JSON.parse(readFileSync(join(directory.path, 'fleet.json'), 'utf8')) as FleetDescription;
  launcher.kill('SIGKILL');
  await ended;
  expect(left.filter(({ pid }) => isRunning(pid))).toEqual(left);

  await using started = await fakeFleet(directory.path, { env: ownStores() });
  expect(left.filter(({ pid }) => isRunning(pid))).toEqual([]);
  expect(other.isRunning()).toBe(true);
  await other.stop({ signal: 'SIGKILL', deadlineMs: 1_000 });
  expect(started.logLines[0]).toMatch(/^stopped the processes of a killed launcher: .*postgres \(pid \d+\)/);
  // The same database cluster: its password has not changed.
  expect(new URL(started.fleet.describe().databaseUrl).password).toBe(new URL(databaseUrl).password);
});
