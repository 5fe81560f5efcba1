import { readdirSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { claim } from '@muster/local/claim';
import { freePorts } from '@muster/local/ports';
import { postgresServer, removePostgresData } from '@muster/local/postgres';
import { findRedis, redisServer, redisUrl } from '@muster/local/redis';
import { startServer } from '@muster/local/server';
import { Redis } from 'ioredis';
import { Client } from 'pg';
import { type Stores, startContainers } from './containers.ts';
import { dockerAnswers } from './docker.ts';
import { HASTY_POSTGRES, openDirectory } from './own-store.ts';

const OWNER_FILE = 'owner.json';
const DIRECTORY_PREFIX = 'muster-test-';

/** The real Redis and Postgres that a test run shares. */
export interface Backing extends Stores {
  /** Which they are and why, such as "Redis 7.0.15 and Postgres 18.4 from local binaries (…)". */
  readonly description: string;
}

/**
 * Opens the stores of a test run: those of `REDIS_URL` and `DATABASE_URL` when set, else containers when a
 * Docker engine answers, else the same local binaries as `npm start`. Disposing it ends what it started.
 */
export const openBacking = async (env: NodeJS.ProcessEnv, say: (line: string) => void): Promise<Backing> => {
  const { stores, source } = await chooseStores(env, say);
  try {
    const [redis, postgres] = await Promise.all([
      redisVersion(stores.redisUrl),
      postgresVersion(stores.databaseUrl),
    ]);
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
  say: (line: string) => void,
): Promise<{ stores: Stores; source: string }> => {
  const redis = env['REDIS_URL'];
  const database = env['DATABASE_URL'];
  if (redis && database) {
    const stores = { redisUrl: redis, databaseUrl: database, [Symbol.asyncDispose]: async () => {} };
    return { stores, source: 'REDIS_URL and DATABASE_URL' };
  }
  const given = { redis, database };
  if (!redis && !database && (await dockerAnswers(env))) {
    try {
      return { stores: await startContainers(), source: 'containers (a Docker engine answers)' };
    } catch (error) {
      say(`a Docker engine answers, but gives no containers: ${messageOf(error)}`);
      return {
        stores: await startLocal(env, say, given),
        source: 'local binaries (Docker gave no containers)',
      };
    }
  }
  const mixed = redis ? ' and REDIS_URL' : database ? ' and DATABASE_URL' : '';
  const why = mixed === '' ? ' (no Docker engine answers)' : '';
  return { stores: await startLocal(env, say, given), source: `local binaries${mixed}${why}` };
};

const messageOf = (error: unknown): string => {
  const first = error instanceof AggregateError ? error.errors[0] : error;
  return first instanceof Error ? first.message : String(first);
};

const startLocal = async (
  env: NodeJS.ProcessEnv,
  say: (line: string) => void,
  given: { redis: string | undefined; database: string | undefined },
): Promise<Stores> => {
  await removeLeftovers();
  await using stack = new AsyncDisposableStack();
  const directory = await openDirectory();
  stack.defer(() => {
    removePostgresData(join(directory, 'postgres'));
    rmSync(directory, { recursive: true, force: true });
  });
  const claimed = await claim(join(directory, OWNER_FILE));
  if (!claimed.ok) throw new Error(`${directory} is new and belongs to pid ${claimed.pid} already`);
  const ports = await freePorts(2);
  const start = async (spec: Parameters<typeof startServer>[0]): Promise<void> => {
    const { stopSignal } = spec;
    const child = await startServer(spec, {
      onSpawn: ({ name, pid }) => claimed.claim.add({ name, pid, stopSignal }),
    });
    stack.defer(async () => void (await child.stop({ signal: stopSignal, deadlineMs: spec.stopDeadlineMs })));
  };
  const [redisPort = 0, postgresPort = 0] = ports;
  const openRedis = async (): Promise<string> => {
    const program = await findRedis({ env, say });
    const dataDir = join(directory, 'redis');
    const logFile = join(directory, 'redis.log');
    await start(redisServer({ program, port: redisPort, dataDir, persistent: false, logFile, env }));
    return redisUrl(redisPort);
  };
  const openPostgres = async (): Promise<string> => {
    const dataDir = join(directory, 'postgres');
    const logFile = join(directory, 'postgres.log');
    const settings = HASTY_POSTGRES;
    const server = postgresServer({ port: postgresPort, dataDir, logFile, env, say, settings });
    await start(server.spec);
    return server.url('postgres');
  };
  const [redis, database] = await Promise.all([given.redis ?? openRedis(), given.database ?? openPostgres()]);
  const owned = stack.move();
  return { redisUrl: redis, databaseUrl: database, [Symbol.asyncDispose]: () => owned.disposeAsync() };
};

/** A run that was killed could not clean up; the next one does, for processes and directories of ours alone. */
const removeLeftovers = async (): Promise<void> => {
  const names = readdirSync(tmpdir()).filter((name) => name.startsWith(DIRECTORY_PREFIX));
  for (const directory of names.map((name) => join(tmpdir(), name))) {
    // Another user's leftovers are that user's business.
    const owner = statSync(join(directory, OWNER_FILE), { throwIfNoEntry: false })?.uid;
    if (owner === undefined || owner !== process.getuid?.()) continue;
    const claimed = await claim(join(directory, OWNER_FILE));
    if (claimed.ok) rmSync(directory, { recursive: true, force: true });
  }
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

const postgresVersion = async (url: string): Promise<string> => {
  const client = new Client({ connectionString: url });
  client.on('error', () => {});
  await client.connect();
  try {
    const { rows } = await client.query<{ server_version: string }>('show server_version');
    return rows[0]?.server_version.split(' ')[0] ?? 'unknown';
  } finally {
    await client.end();
  }
};
