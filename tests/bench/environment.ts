import { execFile } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { type LocalFleet, startFleet } from '@muster/fleet/fleet';
import { attempt } from '@muster/local/process-identity';
import { findProgram } from '@muster/local/programs';
import { leaveServerCore } from './cpu.ts';
import { buildLoadGenerator } from './load-generator.ts';

/** Stores, services and programs that the measured servers need. */
export interface Environment extends AsyncDisposable {
  readonly fleet: LocalFleet;
  readonly redisPid: number;
  readonly loadProgram: string;
  /** Centrifugo; undefined when it is not available. */
  readonly centrifugo: string | undefined;
  /** Words before a command that runs on the core of the servers; none where it is shared. */
  readonly serverCore: readonly string[];
  /** Kills the process when the benchmark ends first. */
  guard(pid: number, exited: Promise<unknown>): void;
}

export interface EnvironmentOptions {
  /** Checkout whose services are measured, instead of this checkout. */
  readonly checkout?: string | undefined;
  readonly log: (line: string) => void;
}

/** Long pings, as the contestants have, and no limits: the load is one client with thousands of connections. */
const FLEET_ENV = {
  LOG_LEVEL: 'warn',
  PING_INTERVAL_MS: '600000',
  MAX_CONNECTIONS: '20000',
  MAX_CONNECTIONS_PER_USER: '0',
  MAX_CONNECTIONS_PER_SESSION: '0',
  MAX_CONNECTIONS_PER_IP: '0',
  MAX_NEW_GROUPS_PER_MINUTE: '0',
  MAX_PUBLISHED_BYTES_PER_S: '0',
  MAX_COMMANDS_PER_S: '0',
  HANDSHAKE_QUEUE: '20000',
  SESSION_LIMIT_PER_MINUTE: '0',
  KEY_LIMIT_PER_MINUTE: '0',
} as const;

const CACHE = join(import.meta.dirname, '../../.muster/bench');
const CENTRIFUGO = 'github.com/centrifugal/centrifugo/v6';
const CENTRIFUGO_VERSION = 'v6.9.1';
const BUILD_TIMEOUT_MS = 900_000;

/** Starts a fleet beside the core of the servers. Its gateway is not measured; it is the template of those that are. */
export const createEnvironment = async ({ checkout, log }: EnvironmentOptions): Promise<Environment> => {
  const loadProgram = buildLoadGenerator(CACHE);
  const centrifugo = await findCentrifugo(log);
  const isPinned = leaveServerCore();
  if (!isPinned) log('servers and load share their cores: this machine has one core, or no taskset');
  const dataDir = mkdtempSync(join(tmpdir(), 'muster-bench-'));
  const guarded = new Set<number>();
  const killAll = new AbortController();
  const end = () => {
    for (const pid of guarded) attempt(() => process.kill(pid, 'SIGKILL'));
    killAll.abort();
    attempt(() => rmSync(dataDir, { recursive: true, force: true }));
    process.exit(130);
  };
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, end);
  const { DATABASE_URL: _database, REDIS_URL: _redis, ...env } = process.env;
  const fleet = await startFleet({
    ...{ env: { ...env, ...FLEET_ENV }, dataDir, gateways: 1, port: 0, basePort: 0, killSignal: killAll.signal },
    ...(checkout === undefined ? {} : { entryPoints: entryPointsOf(checkout) }),
  });
  const { children } = JSON.parse(readFileSync(join(dataDir, 'launcher.json'), 'utf8')) as {
    children: { name: string; pid: number }[];
  };
  return {
    ...{ fleet, loadProgram, centrifugo, serverCore: isPinned ? ['taskset', '--cpu-list', '0'] : [] },
    redisPid: children.find(({ name }) => name === 'redis')?.pid ?? 0,
    guard(pid, exited) {
      guarded.add(pid);
      void exited.then(() => guarded.delete(pid));
    },
    async [Symbol.asyncDispose]() {
      // There is nothing to drain.
      killAll.abort();
      await fleet.stop();
      rmSync(dataDir, { recursive: true, force: true });
      for (const signal of ['SIGINT', 'SIGTERM'] as const) process.off(signal, end);
    },
  };
};

/** The services of a checkout. */
export const entryPointsOf = (checkout: string): Record<string, string> =>
  Object.fromEntries(
    readdirSync(join(checkout, 'services')).map((name) => [name, join(checkout, 'services', name, 'src', 'main.ts')]),
  );

/** The program of `CENTRIFUGO`; without it, one that the Go toolchain builds once. */
const findCentrifugo = async (log: (line: string) => void): Promise<string | undefined> => {
  const given = process.env['CENTRIFUGO'];
  if (given !== undefined && given !== '') return given;
  const directory = join(CACHE, `centrifugo-${CENTRIFUGO_VERSION}`);
  const program = join(directory, 'centrifugo');
  if (existsSync(program)) return program;
  const go = findProgram(['go'], `${process.env['PATH'] ?? ''}:/usr/local/go/bin`);
  if (go === undefined) {
    log('centrifugo: not run, since no Go toolchain was found; CENTRIFUGO=PATH names a program');
    return undefined;
  }
  log(`building Centrifugo ${CENTRIFUGO_VERSION} once; this takes some minutes`);
  try {
    await promisify(execFile)(go, ['install', `${CENTRIFUGO}@${CENTRIFUGO_VERSION}`], {
      ...{ env: { ...process.env, GOBIN: directory }, timeout: BUILD_TIMEOUT_MS },
    });
    return program;
  } catch (error) {
    log(`centrifugo: not run, since it could not be built: ${(error as Error).message}`);
    return undefined;
  }
};
