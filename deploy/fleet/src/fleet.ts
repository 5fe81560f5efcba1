import { chmodSync, mkdirSync, statSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { type DirectoryLock, lockDirectory } from '@muster/local/directory-lock';
import { isPortFree, portHolder } from '@muster/local/ports';
import { findPrometheus } from '@muster/local/prometheus';
import { describeFleet, type FleetDescription, removeDescription, writeDescription } from './fleet-description.ts';
import {
  DEFAULT_SIZE,
  instancesOf,
  type LauncherEnvironment,
  type LauncherSize,
  type Plan,
  type PlannedInstance,
  planFleet,
  publicUrlOf,
  type ServiceKind,
  wantedPorts,
} from './plan.ts';
import { createProcessGroup, type ProcessGroup } from './process-group.ts';
import { loadSecrets } from './secrets.ts';
import { prometheusSpec, proxySpec, serviceSpec, untilHealthy } from './server-specs.ts';
import { configuredStores, settleAll, startStores, wipeStores } from './stores.ts';

const DEFAULT_DATA_DIR = fileURLToPath(new URL('../../../.muster', import.meta.url));
const PORT_RECHECK_MS = 200;
/** Permission of others to enter a directory. */
const EXECUTE_FOR_OTHERS = 0o001;

/** Options of {@link startFleet}. */
export interface LocalFleetOptions extends Partial<LauncherSize> {
  /** Environment of the services; `DATABASE_URL` and `REDIS_URL` replace the local stores. */
  readonly env: NodeJS.ProcessEnv;
  readonly dataDir?: string | undefined;
  /** Starts with empty stores. */
  readonly fresh?: boolean;
  /** Receives progress and crashes. */
  readonly log?: (line: string) => void;
  /** Aborts the start; started processes are stopped. */
  readonly signal?: AbortSignal | undefined;
  /** Kills every remaining process without waiting. */
  readonly killSignal?: AbortSignal | undefined;
  /** Programs that replace services, for tests of the launcher. */
  readonly entryPoints?: Partial<Record<ServiceKind, string>>;
}

/** A running fleet. Disposing it stops it. */
export interface LocalFleet extends AsyncDisposable {
  readonly publicUrl: string;
  readonly dataDir: string;
  /** Description with the current process ids. */
  describe(): FleetDescription;
  /** Sends a signal to a process by its name (`ws-gateway-1`, `redis`, `haproxy`…); the launcher restarts it. */
  kill(name: string, signal: NodeJS.Signals): void;
  /** Stops a process and keeps it down until `resume`. */
  halt(name: string): Promise<void>;
  /** Starts a halted process and waits until it is ready. */
  resume(name: string): Promise<void>;
  /** Last lines of the output of a process. */
  lastLines(name: string): readonly string[];
  /** Drains and stops every process of the fleet, and no other. Idempotent. */
  stop(): Promise<void>;
}

/** The fleet cannot start. The message has the cause and the remedy. */
export class FleetError extends Error {
  override readonly name = 'FleetError';
}

/**
 * Starts stores, services and the load balancer, and waits until all of them serve. On failure it rejects after all
 * started processes have been stopped.
 */
export const startFleet = async (options: LocalFleetOptions): Promise<LocalFleet> => {
  const log = options.log ?? (() => {});
  const dataDir = openDataDir(resolve(options.dataDir ?? DEFAULT_DATA_DIR));
  const lock = await lockDataDir(dataDir, log);
  const processes = createProcessGroup({ lock, log });
  options.killSignal?.addEventListener('abort', processes.killAll);
  try {
    if (options.fresh) wipeStores(dataDir);
    const environment = await startAll({ ...options, log }, { dataDir, processes });
    return createRunningFleet(environment, { dataDir, processes, lock });
  } catch (error) {
    await processes.stop();
    lock.release();
    throw error;
  }
};

const startAll = async (
  options: LocalFleetOptions & { log: (line: string) => void },
  { dataDir, processes }: { dataDir: string; processes: ProcessGroup },
): Promise<LauncherEnvironment> => {
  const { env, log, signal, entryPoints = {} } = options;
  const logDir = join(dataDir, 'logs');
  const plan = await planFleet({ ...DEFAULT_SIZE, ...options });
  await assertPortsFree(plan, env);
  const prometheus = options.observability ? await findPrometheus({ env, log }) : undefined;
  const secrets = loadSecrets(join(dataDir, 'secrets.json'), env);
  const urls = await startStores({ env, plan, dataDir, logDir, log, signal, supervise: processes.addStore });
  const environment: LauncherEnvironment = { env, plan, secrets, ...urls };

  const launch = async (instance: PlannedInstance) => {
    await processes.addService(serviceSpec(instance, environment, { logDir, entryPoints })).start(signal);
    log(`${instance.name} is ready on port ${instance.port}`);
  };
  // Further session services wait for the first, which migrates the database.
  const startSessionServices = async () => {
    const [first, ...waiting] = instancesOf(plan, 'session-service');
    if (first !== undefined) await launch(first);
    await settleAll(waiting.map(launch));
  };
  const others = plan.instances.filter(({ kind }) => kind !== 'session-service');
  await settleAll([startSessionServices(), ...others.map(launch)]);

  await processes.addProxy(await proxySpec(environment, { dataDir, logDir, log })).start(signal);
  log(`HAProxy is ready on port ${plan.publicPort}`);
  if (prometheus !== undefined && plan.prometheusPort !== undefined) {
    const prometheusOptions = { program: prometheus, port: plan.prometheusPort, dataDir, logDir };
    await processes.addStore(prometheusSpec(environment, prometheusOptions)).start(signal);
    log(`Prometheus is ready on port ${plan.prometheusPort}`);
  }
  const healthy = await untilHealthy(publicUrlOf(plan), signal);
  signal?.throwIfAborted();
  if (!healthy) log(`the fleet is not healthy yet: see ${publicUrlOf(plan)}/health`);
  return environment;
};

const createRunningFleet = (
  environment: LauncherEnvironment,
  { dataDir, processes, lock }: { dataDir: string; processes: ProcessGroup; lock: DirectoryLock },
): LocalFleet => {
  const startedAt = new Date();
  const file = join(dataDir, 'fleet.json');
  const describe = () => describeFleet(environment, { startedAt, pidOf: processes.pidOf });
  writeDescription(file, describe());
  processes.onChange(() => writeDescription(file, describe()));

  let stopping: Promise<void> | undefined;
  const stopOnce = async (): Promise<void> => {
    removeDescription(file);
    await processes.stop();
    lock.release();
  };
  const stop = () => {
    stopping ??= stopOnce();
    return stopping;
  };
  return {
    publicUrl: publicUrlOf(environment.plan),
    dataDir,
    describe,
    kill: (name, signal) => void processes.named(name).kill(signal),
    halt: (name) => processes.named(name).stop(),
    resume: (name) => processes.named(name).start(),
    lastLines: (name) => processes.named(name).lastLines(),
    stop,
    [Symbol.asyncDispose]: stop,
  };
};

const openDataDir = (path: string): string => {
  mkdirSync(path, { recursive: true });
  const { mode } = statSync(path);
  // As root, Postgres runs as another user, who has to enter this directory. Secrets have modes of their own.
  if (process.getuid?.() === 0 && (mode & EXECUTE_FOR_OTHERS) === 0)
    chmodSync(path, (mode & 0o7777) | EXECUTE_FOR_OTHERS);
  return path;
};

const lockDataDir = async (dataDir: string, log: (line: string) => void): Promise<DirectoryLock> => {
  const locked = await lockDirectory(join(dataDir, 'launcher.json'));
  if (!locked.ok) {
    throw new FleetError(
      `a fleet is already running in ${dataDir} (pid ${locked.pid}): stop it, or choose another directory with --data`,
    );
  }
  const left = locked.lock.endedOrphans.map(({ name, pid }) => `${name} (pid ${pid})`);
  if (left.length > 0) log(`stopped the processes of a killed launcher: ${left.join(', ')}`);
  return locked.lock;
};

const assertPortsFree = async (plan: Plan, env: NodeJS.ProcessEnv): Promise<void> => {
  const configured = configuredStores(env);
  const stores = { postgres: configured.databaseUrl === undefined, redis: configured.redisUrl === undefined };
  const seen = await portsInUse(wantedPorts(plan, stores));
  if (seen.length === 0) return;
  // Port probes of other processes, such as this check, hold a port for a moment only.
  await sleep(PORT_RECHECK_MS);
  const taken = await portsInUse(seen);
  if (taken.length === 0) return;
  const lines = taken.map(({ port, owner, option }) => {
    const holder = portHolder(port);
    const by = holder === undefined ? '' : ` by pid ${holder.pid} (${holder.command})`;
    return `port ${port} for ${owner} is in use${by}: choose another with ${option}`;
  });
  throw new FleetError(lines.join('\n'));
};

const portsInUse = async <T extends { port: number }>(planned: readonly T[]): Promise<T[]> => {
  const free = await Promise.all(planned.map(({ port }) => isPortFree(port)));
  return planned.filter((_, index) => !free[index]);
};
