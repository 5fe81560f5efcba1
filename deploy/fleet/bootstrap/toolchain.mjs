import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { delimiter, dirname, join } from 'node:path';
import { log, ROOT, runQuietly } from './processes.mjs';

/** First version with type stripping and `await using`. */
const OLDEST_NODE = 24;
const NODE_VERSION = '26';
const PNPM_VERSION = '12';
const HOME = join(ROOT, '.muster', 'toolchain');
const BIN = join(HOME, 'node_modules', '.bin');
const STAMP = join(HOME, 'stamp.json');

/**
 * Node, pnpm, and an environment with both first in `PATH`. Missing tools are installed once from the npm registry; the
 * packages `node-<platform>-<arch>` contain Node.
 */
export const ensureToolchain = async () => {
  const needed = neededPackages();
  const present = installedPackages();
  // Tools that a command with another Node installed are kept: both may be in use.
  if (needed.some((name) => !present.includes(name))) await fetchPackages([...new Set([...needed, ...present])]);
  const node = runsAlready() ? process.execPath : join(BIN, 'node');
  const path = [dirname(node), join(ROOT, 'node_modules', '.bin'), process.env.PATH];
  return {
    node,
    pnpm: join(HOME, 'node_modules', 'pnpm', 'bin', 'pnpm.mjs'),
    env: { ...process.env, PATH: path.join(delimiter) },
  };
};

const installedPackages = () => {
  try {
    return JSON.parse(readFileSync(STAMP, 'utf8'));
  } catch {
    return [];
  }
};

const runsAlready = () => Number(process.versions.node.split('.')[0]) >= OLDEST_NODE;

const neededPackages = () => {
  const { platform, arch } = process;
  if (!['linux', 'darwin'].includes(platform) || !['x64', 'arm64'].includes(arch)) {
    throw new Error(`${platform} on ${arch} is not supported: use Linux or macOS on x64 or arm64 (on Windows, WSL)`);
  }
  const node = runsAlready() ? [] : [`node-${platform}-${arch}@${NODE_VERSION}`];
  return [...node, `pnpm@${PNPM_VERSION}`];
};

const fetchPackages = async (packages) => {
  log(`installing ${packages.join(' and ')} from the npm registry (once)`);
  rmSync(HOME, { recursive: true, force: true });
  mkdirSync(HOME, { recursive: true });
  writeFileSync(join(HOME, 'package.json'), '{ "private": true }\n');
  const args = [
    'install',
    '--prefix',
    HOME,
    '--no-save',
    '--no-audit',
    '--no-fund',
    '--no-package-lock',
    '--loglevel=error',
  ];
  await runQuietly('npm install of the toolchain', ...npm([...args, ...packages]), {
    env: { ...process.env, ...RESOLVER },
    cwd: HOME,
  });
  if (!runsAlready()) {
    const version = await runQuietly('the new Node', join(BIN, 'node'), ['--version']);
    log(`Node ${version.trim()} is in .muster/toolchain`);
  }
  writeFileSync(STAMP, JSON.stringify(packages));
};

/** The npm that runs this process, or npm of the PATH. */
const npm = (args) => {
  const script = process.env.npm_execpath;
  return script?.endsWith('npm-cli.js') ? [process.execPath, [script, ...args]] : ['npm', args];
};

/** Resolver options: a lost DNS response costs 1 s instead of 5 s; an installation resolves hundreds of names. */
export const RESOLVER = { RES_OPTIONS: process.env.RES_OPTIONS ?? 'timeout:1 attempts:5' };
