import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { acceptsConnections } from '@muster/local/ports';
import { ensureDatabase, postgresServer, removePostgresData } from '@muster/local/postgres';
import { findRedis, redisServer, redisUrl } from '@muster/local/redis';
import type { ServerSpec } from '@muster/local/server-process';
import type { Plan } from './plan.ts';
import { fromEnvironment } from './secrets.ts';
import type { SupervisedProcess } from './supervisor.ts';

const DATABASE = 'muster';
const DEFAULT_PORTS: Record<string, number> = {
  'redis:': 6379,
  'rediss:': 6379,
  'redis+cluster:': 6379,
  'rediss+cluster:': 6379,
  'redis+sentinel:': 26_379,
  'rediss+sentinel:': 26_379,
};
const POSTGRES_PORT = 5432;
const CONNECT_TIMEOUT_MS = 3_000;

/** A store of the caller does not answer. */
export class StoreError extends Error {
  override readonly name = 'StoreError';
}

interface StoreDeps {
  readonly env: NodeJS.ProcessEnv;
  readonly plan: Plan;
  readonly dataDir: string;
  readonly logDir: string;
  readonly log: (line: string) => void;
  supervise(spec: ServerSpec): SupervisedProcess;
  readonly signal?: AbortSignal | undefined;
}

/** Stores of the caller; the others are started. */
export const configuredStores = (env: NodeJS.ProcessEnv) => ({
  databaseUrl: fromEnvironment(env, 'DATABASE_URL'),
  redisUrl: fromEnvironment(env, 'REDIS_URL'),
});

/** Removes the data of the stores of a data directory. */
export const wipeStores = (dataDir: string): void => {
  removePostgresData(join(dataDir, 'postgres'));
  rmSync(join(dataDir, 'redis'), { recursive: true, force: true });
};

/** Starts Postgres and Redis concurrently, except those of `DATABASE_URL` and `REDIS_URL`. Resolves with their URLs. */
export const startStores = async (deps: StoreDeps): Promise<{ databaseUrl: string; redisUrl: string }> => {
  const configured = configuredStores(deps.env);
  const [databaseUrl, redis] = await settleAll([
    configured.databaseUrl === undefined
      ? startPostgres(deps)
      : verifyReachable('DATABASE_URL', configured.databaseUrl, 'Postgres', deps.log),
    configured.redisUrl === undefined
      ? startRedis(deps)
      : verifyReachable('REDIS_URL', configured.redisUrl, 'Redis', deps.log),
  ]);
  return { databaseUrl, redisUrl: redis };
};

/** Waits until all have settled, so that nothing is starting during the clean-up; then rejects with the first failure. */
export const settleAll = async <T extends readonly Promise<unknown>[] | []>(work: T) => {
  await Promise.allSettled(work);
  return Promise.all(work);
};

const startPostgres = async ({ env, plan, dataDir, logDir, log, supervise, signal }: StoreDeps): Promise<string> => {
  const server = postgresServer({
    port: plan.postgresPort,
    dataDir: join(dataDir, 'postgres'),
    logFile: join(logDir, 'postgres.log'),
    env,
    log,
  });
  await supervise(server.spec).start(signal);
  await ensureDatabase(server.url('postgres'), DATABASE);
  log(`Postgres is ready on port ${plan.postgresPort}`);
  return server.url(DATABASE);
};

const startRedis = async ({ env, plan, dataDir, logDir, log, supervise, signal }: StoreDeps): Promise<string> => {
  const spec = redisServer({
    program: await findRedis({ env, log }),
    port: plan.redisPort,
    dataDir: join(dataDir, 'redis'),
    persistent: true,
    logFile: join(logDir, 'redis.log'),
    env,
  });
  await supervise(spec).start(signal);
  log(`Redis is ready on port ${plan.redisPort}`);
  return redisUrl(plan.redisPort);
};

const verifyReachable = async (
  variable: string,
  url: string,
  store: string,
  log: (line: string) => void,
): Promise<string> => {
  const addresses = addressesOf(url);
  if (addresses.length === 0)
    throw new StoreError(`${variable}: expected a URL such as postgres://host:5432/muster or redis://host:6379`);
  const names = addresses.map(({ host, port }) => `${host}:${port}`).join(', ');
  // Of several servers, such as sentinels, one that answers is sufficient.
  const answers = await Promise.all(
    addresses.map(({ host, port }) => acceptsConnections(port, { host, timeoutMs: CONNECT_TIMEOUT_MS })),
  );
  if (!answers.includes(true)) {
    throw new StoreError(
      `${variable}: no ${store} accepts connections at ${names}. Start it, or unset ${variable} to start a local ${store}`,
    );
  }
  log(`using ${store} of ${variable} at ${names}`);
  return url;
};

/** Addresses of all servers of a URL with comma-separated hosts. */
const addressesOf = (url: string): { host: string; port: number }[] => {
  const [, head = '', hosts = '', tail = ''] = /^([^/]+:\/\/(?:[^@/]*@)?)([^/]*)(.*)$/.exec(url) ?? [];
  const urls = hosts.split(',').map((host) => head + host + tail);
  if (!urls.every((each) => URL.canParse(each))) return [];
  return urls.map((each) => {
    const { hostname, port, protocol } = new URL(each);
    return {
      host: hostname.replace(/^\[|\]$/g, '') || '127.0.0.1',
      port: Number(port) || (DEFAULT_PORTS[protocol] ?? POSTGRES_PORT),
    };
  });
};
