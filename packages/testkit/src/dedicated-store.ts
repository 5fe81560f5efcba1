import { join } from 'node:path';
import type { Child } from '@muster/local/child-process';
import { freePorts } from '@muster/local/ports';
import { postgresServer } from '@muster/local/postgres';
import { findRedis, redisServer, redisUrl } from '@muster/local/redis';
import type { ServerSpec } from '@muster/local/server-process';
import { openTestDirectory, type TestDirectory } from './test-directory.ts';

/** What a test wrote need not survive a power cut; it does survive the end of the process. */
export const FAST_POSTGRES_SETTINGS = { fsync: 'off', full_page_writes: 'off' };

/** A store that belongs to one test, which may stop it and start it again at the same address. */
export interface DedicatedStore extends AsyncDisposable {
  readonly url: string;
  readonly port: number;
  /** Ends it in order; what it holds is kept. */
  stop(): Promise<void>;
  /** Starts it again and waits until it answers. */
  start(): Promise<void>;
  /** Sends a signal, such as SIGKILL, SIGSTOP or SIGCONT, and does not wait. */
  signal(signal: NodeJS.Signals): void;
}

/** A Redis of one's own, running, which keeps its data over `stop` and `start`; `always` also over a SIGKILL, to the last answer. */
export const openDedicatedRedis = async ({
  persistent = true,
}: {
  persistent?: true | 'always';
} = {}): Promise<DedicatedStore> => {
  const directory = await openTestDirectory();
  const [port = 0] = await freePorts(1);
  const spec = redisServer({
    program: await findRedis({ env: process.env, say: () => {} }),
    port,
    dataDir: join(directory.path, 'redis'),
    persistent,
    logFile: join(directory.path, 'redis.log'),
    env: process.env,
  });
  return startDedicatedStore({ spec, port, url: redisUrl(port), directory });
};

/** A Postgres of one's own, running. The URL is that of an empty database. */
export const openDedicatedPostgres = async (): Promise<DedicatedStore> => {
  const directory = await openTestDirectory();
  const [port = 0] = await freePorts(1);
  const { spec, url } = postgresServer({
    port,
    dataDir: join(directory.path, 'postgres'),
    logFile: join(directory.path, 'postgres.log'),
    env: process.env,
    say: () => {},
    settings: FAST_POSTGRES_SETTINGS,
  });
  return startDedicatedStore({ spec, port, url: url('postgres'), directory });
};

/** Starts a store in a directory that goes with it. */
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
    // A frozen process hears no polite signal.
    child?.kill('SIGCONT');
    await child?.stop({ signal: spec.stopSignal, deadlineMs: spec.stopDeadlineMs });
  };
  await start();
  return {
    url,
    port,
    start,
    stop,
    signal: (signal) => void child?.kill(signal),
    async [Symbol.asyncDispose]() {
      await stop();
      await directory[Symbol.asyncDispose]();
    },
  };
};
