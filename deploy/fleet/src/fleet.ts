import { chmodSync, mkdirSync, statSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { type DirectoryLock, lockDirectory } from '@muster/local/directory-lock';
import { isPortFree, portHolder } from '@muster/local/ports';
import { findPrometheus } from '@muster/local/prometheus';
import {
  describeFleet,
  type FleetDescription,
  removeDescription,
  writeDescription,
} from './fleet-description.ts';
import { prometheusSpec } from './observability.ts';
import {
  type LauncherEnvironment,
  type Plan,
  planFleet,
  publicUrlOf,
  type ServiceKind,
  wantedPorts,
} from './plan.ts';
import { createProcessGroup, type ProcessGroup } from './process-group.ts';
import { loadSecrets } from './secrets.ts';
import { proxySpec, serviceSpec, untilHealthy } from './server-specs.ts';
import { configuredStores, startStores, wipeStores } from './stores.ts';

const DEFAULT_DATA_DIR = fileURLToPath(new URL('../../../.muster', import.meta.url));
const DEFAULT_PORT = 8_080;
const DEFAULT_BASE_PORT = 8_100;
const DEFAULT_GATEWAYS = 2;
const DEFAULT_AGGREGATORS = 1;
const PORT_RECHECK_MS = 200;
/** The permission of others to pass through a directory. */
const EXECUTE_FOR_OTHERS = 0o001;

/** How a fleet is to be started. Everything has a default but the environment. */
export interface LocalFleetOptions {
  /** What the services inherit; `DATABASE_URL` and `REDIS_URL` in it replace our own stores. */
  readonly env: NodeJS.ProcessEnv;
  readonly gateways?: number;
  readonly sessions?: number;
  readonly aggregators?: number;
  /** Of the load balancer; 0 takes a free one. */
  readonly port?: number;
  /** Of everybody else, see `--help`; 0 takes free ones. */
  readonly basePort?: number;
  readonly dataDir?: string | undefined;
  /** Starts with empty stores. */
  readonly fresh?: boolean;
  /** Starts a Prometheus that watches the fleet; it has to be there, or to be installable. */
  readonly observability?: boolean;
  /** Hears every step, and every crash. */
  readonly say?: (line: string) => void;
  /** Gives up starting. What has been started is ended. */
  readonly signal?: AbortSignal | undefined;
  /** Kills every process that is left, without waiting for anything. */
  readonly killSignal?: AbortSignal | undefined;
  /** Other programs in the place of services, for tests of the launcher itself. */
  readonly entryPoints?: Partial<Record<ServiceKind, string>>;
}

/** A fleet that runs. Disposing it stops it. */
export interface LocalFleet extends AsyncDisposable {
  readonly publicUrl: string;
  readonly dataDir: string;
  /** The fleet as it is now, with the process ids of this moment. */
  describe(): FleetDescription;
  /** Sends a signal to a process by its name (`ws-gateway-1`, `redis`, `haproxy`…); the launcher starts it again. */
  kill(name: string, signal: NodeJS.Signals): void;
  /** Ends a process and keeps it down until {@link resume}. */
  halt(name: string): Promise<void>;
  /** Starts a halted process again and waits until it serves. */
  resume(name: string): Promise<void>;
  /** The last lines that a process has written. */
  lastLines(name: string): readonly string[];
  /** Drains and ends every process it started, and nothing else. Twice is harmless. */
  stop(): Promise<void>;
}

/** The fleet cannot be started. The message is for people. */
export class FleetError extends Error {
  override readonly name = 'FleetError';
}

/**
 * Starts stores, services and the load balancer, and waits until all of them serve. Rejects with what went
 * wrong, and has then ended whatever it had started.
 */
export const startFleet = async (options: LocalFleetOptions): Promise<LocalFleet> => {
  const say = options.say ?? (() => {});
  const dataDir = openDataDir(resolve(options.dataDir ?? DEFAULT_DATA_DIR));
  const owned = await lockDataDir(dataDir, say);
  const troop = createProcessGroup({ claim: owned, say });
  options.killSignal?.addEventListener('abort', troop.killAll);
  try {
    if (options.fresh) wipeStores(dataDir);
    const around = await startAll({ ...options, say }, { dataDir, troop });
    return createRunningFleet(around, { dataDir, troop, owned });
  } catch (error) {
    await troop.stop();
    owned.release();
    throw error;
  }
};

const startAll = async (
  options: LocalFleetOptions & { say: (line: string) => void },
  { dataDir, troop }: { dataDir: string; troop: ProcessGroup },
): Promise<LauncherEnvironment> => {
  const { env, say, signal, entryPoints = {} } = options;
  const logDir = join(dataDir, 'logs');
  const plan = await planFleet({
    gateways: options.gateways ?? DEFAULT_GATEWAYS,
    sessions: options.sessions ?? 1,
    aggregators: options.aggregators ?? DEFAULT_AGGREGATORS,
    port: options.port ?? DEFAULT_PORT,
    basePort: options.basePort ?? DEFAULT_BASE_PORT,
    observability: options.observability ?? false,
  });
  await assertPortsFree(plan, env);
  const watcher = options.observability ? await findPrometheus({ env, say }) : undefined;
  const secrets = loadSecrets(join(dataDir, 'secrets.json'), env);
  const urls = await startStores({ env, plan, dataDir, logDir, say, signal, supervise: troop.addStore });
  const around: LauncherEnvironment = { env, plan, secrets, ...urls };

  const [first, ...others] = plan.instances;
  const launch = async (instance: (typeof plan.instances)[number]) => {
    await troop.addService(serviceSpec(instance, around, { logDir, entryPoints })).start(signal);
    say(`${instance.name} is ready on port ${instance.port}`);
  };
  // Further session services wait for the first one, which brings the database up to date.
  const waiting = others.filter((one) => one.kind === 'session-service');
  const free = others.filter((one) => one.kind !== 'session-service');
  const ahead = async () => {
    if (first !== undefined) await launch(first);
    await settleAll(waiting.map(launch));
  };
  await settleAll([ahead(), ...free.map(launch)]);

  await troop.addProxy(await proxySpec(around, { dataDir, logDir, say })).start(signal);
  say(`HAProxy is ready on port ${plan.publicPort}`);
  if (watcher !== undefined && plan.prometheusPort !== undefined) {
    const place = { program: watcher, port: plan.prometheusPort, dataDir, logDir };
    await troop.addStore(prometheusSpec(around, place)).start(signal);
    say(`Prometheus is ready on port ${plan.prometheusPort}`);
  }
  const healthy = await untilHealthy(publicUrlOf(plan), signal);
  signal?.throwIfAborted();
  if (!healthy) say(`the fleet does not call itself healthy yet: see ${publicUrlOf(plan)}/health`);
  return around;
};

const createRunningFleet = (
  around: LauncherEnvironment,
  { dataDir, troop, owned }: { dataDir: string; troop: ProcessGroup; owned: DirectoryLock },
): LocalFleet => {
  const startedAt = new Date();
  const file = join(dataDir, 'fleet.json');
  const describe = () => describeFleet(around, { startedAt, pidOf: troop.pidOf });
  writeDescription(file, describe());
  troop.onChange(() => writeDescription(file, describe()));

  let stopping: Promise<void> | undefined;
  const stopOnce = async (): Promise<void> => {
    removeDescription(file);
    await troop.stop();
    owned.release();
  };
  const stop = () => {
    stopping ??= stopOnce();
    return stopping;
  };
  return {
    publicUrl: describe().publicUrl,
    dataDir,
    describe,
    kill: (name, signal) => void troop.named(name).kill(signal),
    halt: (name) => troop.named(name).halt(),
    resume: (name) => troop.named(name).resume(),
    lastLines: (name) => troop.named(name).lastLines(),
    stop,
    [Symbol.asyncDispose]: stop,
  };
};

const openDataDir = (path: string): string => {
  mkdirSync(path, { recursive: true });
  const { mode } = statSync(path);
  // As root, Postgres runs as somebody else, who has to pass through here. What is secret has modes of its own.
  if (process.getuid?.() === 0 && (mode & EXECUTE_FOR_OTHERS) === 0)
    chmodSync(path, (mode & 0o7777) | EXECUTE_FOR_OTHERS);
  return path;
};

const lockDataDir = async (dataDir: string, say: (line: string) => void): Promise<DirectoryLock> => {
  const claimed = await lockDirectory(join(dataDir, 'launcher.json'));
  if (!claimed.ok) {
    throw new FleetError(
      `a fleet runs already in ${dataDir} (pid ${claimed.pid}): stop it, or choose another directory with --data`,
    );
  }
  const left = claimed.claim.endedOrphans.map(({ name, pid }) => `${name} (pid ${pid})`);
  if (left.length > 0) say(`ended what a killed launcher had left running: ${left.join(', ')}`);
  return claimed.claim;
};

const assertPortsFree = async (plan: Plan, env: NodeJS.ProcessEnv): Promise<void> => {
  const given = configuredStores(env);
  const stores = { postgres: given.databaseUrl === undefined, redis: given.redisUrl === undefined };
  const seen = await portsInUse(wantedPorts(plan, stores));
  if (seen.length === 0) return;
  // Somebody who only looked, as we do, is gone the next moment.
  await sleep(PORT_RECHECK_MS);
  const taken = await portsInUse(seen);
  if (taken.length === 0) return;
  const lines = taken.map(({ port, owner, option }) => {
    const holder = portHolder(port);
    const by = holder === undefined ? '' : ` by pid ${holder.pid} (${holder.command})`;
    return `port ${port}, wanted for ${owner}, is in use${by}: choose another with ${option}`;
  });
  throw new FleetError(lines.join('\n'));
};

const portsInUse = async <T extends { port: number }>(wanted: readonly T[]): Promise<T[]> => {
  const free = await Promise.all(wanted.map(({ port }) => isPortFree(port)));
  return wanted.filter((_, index) => !free[index]);
};

/** Waits for all, also when one fails: nothing may still be starting while we clean up. */
const settleAll = async (work: readonly Promise<void>[]): Promise<void> => {
  const failed = (await Promise.allSettled(work)).find((one) => one.status === 'rejected');
  if (failed !== undefined) throw failed.reason;
};
