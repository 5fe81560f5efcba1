import { Redis } from 'ioredis';
import { type DedicatedStore, openDedicatedPostgres, openDedicatedRedis } from './dedicated-store.ts';
import { dockerAnswers } from './docker.ts';
import { type RunningStores, startStoreContainers } from './store-containers.ts';
import { withClient } from './template.ts';
import { removeStaleTestDirectories } from './test-directory.ts';

/** Redis and Postgres of a test run. */
export interface StoreBackend extends RunningStores {
  /** Versions, source and reason, such as "Redis 7.0.15 and Postgres 18.4 from local binaries (…)". */
  readonly description: string;
}

/**
 * Opens the stores of a test run: those of `REDIS_URL` and `DATABASE_URL` when set, else containers when a Docker engine
 * answers, else the local binaries of `npm start`. `TEST_STORES=containers` requires containers, `TEST_STORES=binaries`
 * skips the engine. Disposing it stops what it started.
 */
export const openStoreBackend = async (env: NodeJS.ProcessEnv, log: (line: string) => void): Promise<StoreBackend> => {
  const { stores, source } = await chooseStores(env, log);
  try {
    const [redis, postgres] = await Promise.all([redisVersion(stores.redisUrl), postgresVersion(stores.databaseUrl)]);
    return {
      redisUrl: stores.redisUrl,
      databaseUrl: stores.databaseUrl,
      description: `${redis} and Postgres ${postgres} from ${source}`,
      [Symbol.asyncDispose]: () => stores[Symbol.asyncDispose](),
    };
  } catch (error) {
    await stores[Symbol.asyncDispose]();
    throw error;
  }
};

const chooseStores = async (
  env: NodeJS.ProcessEnv,
  log: (line: string) => void,
): Promise<{ stores: RunningStores; source: string }> => {
  const redis = env['REDIS_URL'];
  const database = env['DATABASE_URL'];
  if (redis && database) {
    const stores = { redisUrl: redis, databaseUrl: database, [Symbol.asyncDispose]: async () => {} };
    return { stores, source: 'REDIS_URL and DATABASE_URL' };
  }
  const configured = { redis, database };
  if (redis || database) {
    const source = `local binaries and ${redis ? 'REDIS_URL' : 'DATABASE_URL'}`;
    return { stores: await startLocal(env, log, configured), source };
  }
  const tried = await tryContainers(env);
  if ('stores' in tried) return { stores: tried.stores, source: 'containers (a Docker engine answers)' };
  if (env['TEST_STORES'] === 'containers') throw new Error(`TEST_STORES=containers: ${tried.why}`);
  return { stores: await startLocal(env, log, configured), source: `local binaries (${tried.why})` };
};

/** Containers, or the reason without them. */
const tryContainers = async (env: NodeJS.ProcessEnv): Promise<{ stores: RunningStores } | { why: string }> => {
  if (env['TEST_STORES'] === 'binaries') return { why: 'TEST_STORES=binaries' };
  if (!(await dockerAnswers(env))) return { why: 'no Docker engine answers' };
  try {
    return { stores: await startStoreContainers() };
  } catch (error) {
    return { why: `a Docker engine answers, but the containers did not start: ${messageOf(error)}` };
  }
};

const messageOf = (error: unknown): string => {
  const first = error instanceof AggregateError ? error.errors[0] : error;
  return first instanceof Error ? first.message : String(first);
};

const startLocal = async (
  env: NodeJS.ProcessEnv,
  log: (line: string) => void,
  configured: { redis: string | undefined; database: string | undefined },
): Promise<RunningStores> => {
  await removeStaleTestDirectories();
  await using stack = new AsyncDisposableStack();
  const urlOf = async (store: Promise<DedicatedStore>): Promise<string> => stack.use(await store).url;
  const [redis, database] = await Promise.all([
    configured.redis ?? urlOf(openDedicatedRedis({ persistent: false, env, log })),
    configured.database ?? urlOf(openDedicatedPostgres({ env, log })),
  ]);
  const owned = stack.move();
  return { redisUrl: redis, databaseUrl: database, [Symbol.asyncDispose]: () => owned.disposeAsync() };
};

const redisVersion = async (url: string): Promise<string> => {
  const redis = new Redis(url, { maxRetriesPerRequest: 1 });
  redis.on('error', () => {});
  try {
    const info = await redis.info('server');
    const valkey = /valkey_version:(\S+)/.exec(info)?.[1];
    return valkey === undefined ? `Redis ${/redis_version:(\S+)/.exec(info)?.[1]}` : `Valkey ${valkey}`;
  } finally {
    redis.disconnect();
  }
};

const postgresVersion = (url: string): Promise<string> =>
  withClient(url, async (client) => {
    const { rows } = await client.query<{ server_version: string }>('show server_version');
    return rows[0]?.server_version.split(' ')[0] ?? 'unknown';
  });
