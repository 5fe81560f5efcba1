import { join } from 'node:path';
import type { Child } from '@muster/local/child-process';
import { freePorts } from '@muster/local/ports';
import { postgresServer } from '@muster/local/postgres';
import type { FindOptions } from '@muster/local/programs';
import { findRedis, type RedisOptions, redisServer, redisUrl } from '@muster/local/redis';
import type { ServerSpec } from '@muster/local/server-process';
import { openTestDirectory, type TestDirectory } from './test-directory.ts';

/** A store of one test, which may stop and restart it at the same address. */
export interface DedicatedStore extends AsyncDisposable {
  readonly url: string;
  readonly port: number;
  /** Stops it gracefully; its data is kept. */
  stop(): Promise<void>;
  /** Starts it and waits until it is ready. */
  start(): Promise<void>;
  /** Sends a signal such as SIGKILL, SIGSTOP or SIGCONT. */
  signal(signal: NodeJS.Signals): void;
}

/**
 * Starts a Redis for one test, at a free port unless one is given. Data is kept over `stop` and `start`; with `always` also
 * over SIGKILL, up to the last reply.
 */
export const openDedicatedRedis = async ({
  port: given,
  persistent = true,
  env = process.env,
  log = () => {},
  ...options
}: Partial<
  Pick<RedisOptions, 'port' | 'persistent' | 'name' | 'extra'> & FindOptions
> = {}): Promise<DedicatedStore> => {
  const program = await findRedis({ env, log });
  const directory = await openTestDirectory();
  const port = given ?? (await freePorts(1))[0] ?? 0;
  const spec = redisServer({
    ...{ program, port, persistent, env, ...options },
    dataDir: join(directory.path, 'redis'),
    logFile: join(directory.path, 'redis.log'),
  });
  return startDedicatedStore({ spec, port, url: redisUrl(port), directory });
};

/** Starts a Postgres for one test. The URL is that of an empty database. */
export const openDedicatedPostgres = async ({
  env = process.env,
  log = () => {},
}: Partial<FindOptions> = {}): Promise<DedicatedStore> => {
  const [port = 0] = await freePorts(1);
  const directory = await openTestDirectory();
  const { spec, url } = postgresServer({
    port,
    dataDir: join(directory.path, 'postgres'),
    logFile: join(directory.path, 'postgres.log'),
    env,
    log,
    // Data survives the end of the process, not a power failure.
    settings: { fsync: 'off', full_page_writes: 'off' },
  });
  return startDedicatedStore({ spec, port, url: url('postgres'), directory });
};

/** Starts a store; disposing it removes its directory. */
export const startDedicatedStore = async (store: {
  spec: ServerSpec;
  port: number;
  url: string;
  directory: TestDirectory;
}): Promise<DedicatedStore> => {
  const { spec, port, url, directory } = store;
  let child: Child | undefined;
  const start = async (): Promise<void> => {
    child = await directory.start(spec);
  };
  const stop = async (): Promise<void> => {
    // A stopped process (SIGSTOP) does not handle the signal.
    child?.kill('SIGCONT');
    await child?.stop({ signal: spec.stopSignal, deadlineMs: spec.stopDeadlineMs });
  };
  await using stack = new AsyncDisposableStack();
  stack.use(directory);
  stack.defer(stop);
  await start();
  const owned = stack.move();
  return {
    url,
    port,
    start,
    stop,
    signal: (signal) => void child?.kill(signal),
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
};
