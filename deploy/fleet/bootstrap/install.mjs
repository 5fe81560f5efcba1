import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { log, ROOT, runQuietly } from './processes.mjs';
import { RESOLVER } from './toolchain.mjs';

const STATE = join(ROOT, '.muster');
const LOCK = join(STATE, 'setup.lock');
const INSTALL_STAMP = join(ROOT, 'node_modules', '.muster-stamp');
const CONSOLE = join(ROOT, 'services', 'health-aggregator');
const CONSOLE_OUT = join(CONSOLE, 'dist', 'console');
const CONSOLE_STAMP = join(CONSOLE, 'dist', '.muster-stamp');
const WORKSPACES = ['packages', 'services', 'deploy'];
const LOCK_POLL_MS = 300;
/** Longer than any setup; the process id in an older lock may belong to another process. */
const STALE_LOCK_MS = 900_000;

/** Installs the packages of the lock file. Without a change it does nothing and needs no network. */
export const install = async ({ node, pnpm, env }) => {
  const stamp = hashOf([join(ROOT, 'pnpm-lock.yaml'), join(ROOT, 'pnpm-workspace.yaml'), ...manifests()]);
  if (readOr(INSTALL_STAMP) === stamp) return;
  log('installing packages with pnpm');
  await runQuietly('pnpm install', node, [pnpm, 'install', '--frozen-lockfile', '--reporter=append-only'], {
    // CI: no prompts, also when node_modules is replaced.
    env: { ...env, ...RESOLVER, CI: 'true' },
  });
  writeFileSync(INSTALL_STAMP, stamp);
  log('packages are installed');
};

/** Builds the console when its sources changed. */
export const buildConsole = async ({ node, pnpm, env }) => {
  const manifest = JSON.parse(readFileSync(join(CONSOLE, 'package.json'), 'utf8'));
  if (manifest.scripts?.build === undefined) return;
  const stamp = hashOf([...consoleSources(), join(ROOT, 'pnpm-lock.yaml')]);
  if (existsSync(CONSOLE_OUT) && readOr(CONSOLE_STAMP) === stamp) return;
  log('building the console');
  await runQuietly('the build of the console', node, [pnpm, '--filter', '@muster/health-aggregator', 'build'], { env });
  writeFileSync(CONSOLE_STAMP, stamp);
};

/** Runs `work` under the setup lock of the checkout; a second command waits. */
export const withLock = async (work) => {
  mkdirSync(STATE, { recursive: true });
  for (let isLogged = false; !tryLock(); isLogged = true) {
    if (!isLogged) log('another command is setting up this checkout; waiting for it');
    await sleep(LOCK_POLL_MS);
  }
  try {
    return await work();
  } finally {
    rmSync(LOCK, { force: true });
  }
};

const tryLock = () => {
  try {
    writeFileSync(LOCK, String(process.pid), { flag: 'wx' });
    return true;
  } catch (error) {
    if (error.code !== 'EEXIST') throw error;
  }
  const age = Date.now() - (statSync(LOCK, { throwIfNoEntry: false })?.mtimeMs ?? Date.now());
  if (age > STALE_LOCK_MS || !isRunning(Number(readOr(LOCK)))) rmSync(LOCK, { force: true });
  return false;
};

const isRunning = (pid) => {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error.code === 'EPERM';
  }
};

const manifests = () => [
  join(ROOT, 'package.json'),
  join(ROOT, 'tests', 'package.json'),
  ...WORKSPACES.flatMap((folder) =>
    readdirSync(join(ROOT, folder)).map((name) => join(ROOT, folder, name, 'package.json')),
  ).filter((path) => existsSync(path)),
];

const consoleSources = () => [
  join(CONSOLE, 'package.json'),
  ...readdirSync(CONSOLE)
    .filter((name) => name.endsWith('.ts') || name.endsWith('.html'))
    .map((name) => join(CONSOLE, name)),
  ...filesBelow(join(CONSOLE, 'src')),
  ...filesBelow(join(ROOT, 'packages', 'protocol', 'src')),
];

const filesBelow = (folder) =>
  readdirSync(folder)
    .map((name) => join(folder, name))
    .flatMap((path) => (statSync(path).isDirectory() ? filesBelow(path) : [path]));

const hashOf = (paths) => {
  const hash = createHash('sha256');
  for (const path of [...paths].sort()) hash.update(relative(ROOT, path)).update('\0').update(readFileSync(path));
  return hash.digest('hex');
};

const readOr = (path) => (existsSync(path) ? readFileSync(path, 'utf8') : undefined);
