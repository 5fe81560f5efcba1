import { chmod, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Child } from '@muster/local/child';
import { freePorts } from '@muster/local/ports';
import { postgresServer, removePostgresData } from '@muster/local/postgres';
import { findRedis, redisServer, redisUrl } from '@muster/local/redis';
import { type ServerSpec, startServer } from '@muster/local/server';

/** What a test wrote need not survive a power cut; it does survive the end of the process. */
export const HASTY_POSTGRES = { fsync: 'off', full_page_writes: 'off' };

/** A store that belongs to one test, which may stop it and start it again at the same address. */
export interface OwnStore extends AsyncDisposable {
  readonly url: string;
  readonly port: number;
  /** Ends it in order; what it holds is kept. */
  stop(): Promise<void>;
  /** Starts it again and waits until it answers. */
  start(): Promise<void>;
  /** Sends a signal, such as SIGKILL, SIGSTOP or SIGCONT, and does not wait. */
  signal(signal: NodeJS.Signals): void;
}

/** A Redis of one's own, running, which keeps its data over `stop` and `start`. */
export const openOwnRedis = async (): Promise<OwnStore> => {
  const say = () => {};
  const directory = await openDirectory();
  const [port = 0] = await freePorts(1);
  const spec = redisServer({
    program: await findRedis({ env: process.env, say }),
    port,
    dataDir: join(directory, 'redis'),
    persistent: true,
    logFile: join(directory, 'redis.log'),
    env: process.env,
  });
  return ownStore({ spec, port, url: redisUrl(port), remove: () => rm(directory, { recursive: true }) });
};

/** A Postgres of one's own, running. The URL is that of an empty database. */
export const openOwnPostgres = async (): Promise<OwnStore> => {
  const directory = await openDirectory();
  const [port = 0] = await freePorts(1);
  const dataDir = join(directory, 'postgres');
  const { spec, url } = postgresServer({
    port,
    dataDir,
    logFile: join(directory, 'postgres.log'),
    env: process.env,
    say: () => {},
    settings: HASTY_POSTGRES,
  });
  const remove = async () => {
    removePostgresData(dataDir);
    await rm(directory, { recursive: true });
  };
  return ownStore({ spec, port, url: url('postgres'), remove });
};

/** A new directory below the system's temporary one, which other users may enter: Postgres has one of its own. */
export const openDirectory = async (): Promise<string> => {
  const directory = await mkdtemp(join(tmpdir(), 'muster-test-'));
  await chmod(directory, 0o755);
  return directory;
};

const ownStore = async (store: {
  spec: ServerSpec;
  port: number;
  url: string;
  remove: () => Promise<void>;
}): Promise<OwnStore> => {
  const { spec, port, url, remove } = store;
  let child: Child | undefined;
  const start = async (): Promise<void> => {
    child = await startServer(spec);
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
      await remove();
    },
  };
};
