import { rmSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
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
const REACH_TIMEOUT_MS = 3_000;

/** A store of the caller's does not answer. */
export class StoreError extends Error {
  override readonly name = 'StoreError';
}

/** What the stores need of the launcher. */
export interface StoreDeps {
  readonly env: NodeJS.ProcessEnv;
  readonly plan: Plan;
  readonly dataDir: string;
  readonly logDir: string;
  readonly say: (line: string) => void;
  supervise(spec: ServerSpec): SupervisedProcess;
  readonly signal?: AbortSignal | undefined;
}

/** Which of the stores the caller brings; the others are started. */
export const configuredStores = (
  env: NodeJS.ProcessEnv,
): { databaseUrl: string | undefined; redisUrl: string | undefined } => ({
  databaseUrl: fromEnvironment(env, 'DATABASE_URL'),
  redisUrl: fromEnvironment(env, 'REDIS_URL'),
});

/** Forgets what the stores of this data directory hold. */
export const wipeStores = (dataDir: string): void => {
  removePostgresData(join(dataDir, 'postgres'));
  rmSync(join(dataDir, 'redis'), { recursive: true, force: true });
};

/** Postgres and Redis, side by side: the caller's where `DATABASE_URL` or `REDIS_URL` is set, else our own. */
export const startStores = async (deps: StoreDeps): Promise<{ databaseUrl: string; redisUrl: string }> => {
  const given = configuredStores(deps.env);
  const started = await Promise.allSettled([
    given.databaseUrl === undefined
      ? startPostgres(deps)
      : verifyReachable('DATABASE_URL', given.databaseUrl, 'Postgres', deps.say),
    given.redisUrl === undefined
      ? startRedis(deps)
      : verifyReachable('REDIS_URL', given.redisUrl, 'Redis', deps.say),
  ]);
  // Both have come to rest: nothing is still starting while the caller cleans up.
  const [databaseUrl, redis] = started.map((one) => {
    if (one.status === 'rejected') throw one.reason;
    return one.value;
  }) as [string, string];
  return { databaseUrl, redisUrl: redis };
};

const startPostgres = async ({
  env,
  plan,
  dataDir,
  logDir,
  say,
  supervise,
  signal,
}: StoreDeps): Promise<string> => {
  const server = postgresServer({
    port: plan.postgresPort,
    dataDir: join(dataDir, 'postgres'),
    logFile: join(logDir, 'postgres.log'),
    env,
    say,
  });
  await supervise(server.spec).start(signal);
  await ensureDatabase(server.url('postgres'), DATABASE);
  say(`Postgres is ready on port ${plan.postgresPort}`);
  return server.url(DATABASE);
};

const startRedis = async ({
  env,
  plan,
  dataDir,
  logDir,
  say,
  supervise,
  signal,
}: StoreDeps): Promise<string> => {
  const spec = redisServer({
    program: await findRedis({ env, say }),
    port: plan.redisPort,
    dataDir: join(dataDir, 'redis'),
    persistent: true,
    logFile: join(logDir, 'redis.log'),
    env,
  });
  await supervise(spec).start(signal);
  say(`Redis is ready on port ${plan.redisPort}`);
  return redisUrl(plan.redisPort);
};

const verifyReachable = async (
  variable: string,
  url: string,
  store: string,
  say: (line: string) => void,
): Promise<string> => {
  const places = addressesOf(url);
  if (places.length === 0) throw new StoreError(`${variable} is not a URL`);
  const names = places.map(({ host, port }) => `${host}:${port}`).join(', ');
  // Of several, such as sentinels, one is enough: the others are its business.
  if (!(await Promise.all(places.map(acceptsConnection))).includes(true)) {
    throw new StoreError(`nothing answers at ${names}, where ${variable} says ${store} is`);
  }
  say(`${store} is the one of ${variable}, at ${names}`);
  return url;
};

/** Every server that a URL names; between commas stand several. */
const addressesOf = (url: string): { host: string; port: number }[] => {
  const [, head = '', hosts = '', tail = ''] = /^([^/]+:\/\/(?:[^@/]*@)?)([^/]*)(.*)$/.exec(url) ?? [];
  const urls = hosts.split(',').map((host) => head + host + tail);
  if (!urls.every((one) => URL.canParse(one))) return [];
  return urls.map((one) => {
    const { hostname, port, protocol } = new URL(one);
    return {
      host: hostname.replace(/^\[|\]$/g, '') || '127.0.0.1',
      port: Number(port) || (DEFAULT_PORTS[protocol] ?? POSTGRES_PORT),
    };
  });
};

const acceptsConnection = (where: { host: string; port: number }): Promise<boolean> =>
  new Promise((resolve) => {
    const socket = connect(where);
    const answer = (yes: boolean) => {
      socket.destroy();
      resolve(yes);
    };
    socket.setTimeout(REACH_TIMEOUT_MS, () => answer(false));
    socket.once('error', () => answer(false));
    socket.once('connect', () => answer(true));
  });
