import { execFile, spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { until } from '@muster/testkit/wait';
import { beforeAll, expect, test } from 'vitest';
import { isRunning, sharedStores, temporaryDirectory } from './fake-fleet.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const run = promisify(execFile);

// Tools may be missing when the tests were not started by `npm test`.
beforeAll(() => run('npm', ['run', 'setup'], { cwd: ROOT }), 180_000);

/** `npm start` with the real services, ready. Its registry is a closed port: every request to it fails. */
const npmStart = async (dataDir: string) => {
  const args = ['start', '--', '--data', dataDir, '--port', '0', '--base-port', '0'];
  const npm = spawn('npm', args, {
    cwd: ROOT,
    env: { ...process.env, ...sharedStores(), npm_config_registry: 'http://127.0.0.1:1' },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const out = { text: '' };
  for (const stream of [npm.stdout, npm.stderr]) {
    stream.on('data', (data) => {
      out.text += String(data);
    });
  }
  const ended = new Promise<number | null>((resolve) => npm.once('exit', (code) => resolve(code)));
  await until(() => out.text, {
    ok: (text) => text.includes('Ctrl-C stops the fleet'),
    what: 'the summary',
    timeoutMs: 25_000,
  });
  const known = JSON.parse(readFileSync(join(dataDir, 'launcher.json'), 'utf8')) as {
    pid: number;
    children: { pid: number }[];
  };
  return {
    npm,
    out,
    ended,
    pids: [known.pid, ...known.children.map(({ pid }) => pid)],
    async [Symbol.asyncDispose]() {
      npm.kill('SIGTERM');
      await ended;
    },
  };
};

test('[LA18] [LA19] [LA20] [LA35] npm start needs no network, its printed commands work, and SIGTERM ends the fleet before npm', async () => {
  using directory = temporaryDirectory();
  await using started = await npmStart(directory.path);
  const { npm, out, ended, pids } = started;
  const commands = out.text.split('\n').filter((line) => line.trim().startsWith('curl '));
  expect(commands.length).toBeGreaterThanOrEqual(3);
  for (const command of commands) {
    const { stdout } = await run('/bin/sh', ['-c', `${command.trim()} -w ' %{http_code}'`]);
    expect(stdout).toMatch(/ 20[01]$/);
  }
  const pages = [...out.text.matchAll(/^ {2}(?:console|API documents|health) +(\S+)$/gm)].map(([, url]) => url!);
  expect(pages).toHaveLength(3);
  for (const page of pages) expect(`${page} ${(await fetch(page)).status}`).toBe(`${page} 200`);
  npm.kill('SIGTERM');
  expect(await ended).toBe(0);
  expect(pids.filter(isRunning)).toEqual([]);
  expect(out.text).toContain('Stopped.');
});

test('[LA36] when npm is killed, the fleet ends', async () => {
  using directory = temporaryDirectory();
  await using started = await npmStart(directory.path);
  const { npm, ended, pids } = started;
  npm.kill('SIGKILL');
  await ended;
  await until(() => pids.filter(isRunning), {
    ok: (left) => left.length === 0,
    what: 'every process to end',
    timeoutMs: 10_000,
  });
});
