import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { freePorts } from '@muster/local/ports';
import { findRedis, redisAnswers, redisServer } from '@muster/local/redis';
import { Redis } from 'ioredis';
import { type DedicatedStore, startDedicatedStore } from './dedicated-store.ts';
import { openTestDirectory, type TestDirectory } from './test-directory.ts';
import { until } from './wait.ts';

/** A primary, its replica and three sentinels that belong to one test. */
export interface DedicatedRedisSentinel extends AsyncDisposable {
  /** Names two of the sentinels; the third is learnt. */
  readonly url: string;
  /** The primary at first, and then the other one. */
  readonly servers: readonly [DedicatedStore, DedicatedStore];
  /** From now on the replica gets nothing more from the primary, while sentinels and clients do. */
  cutReplication(): Promise<void>;
  /** The port of the primary, as most sentinels see it. */
  primaryPort(): Promise<number>;
}

const NAME = 'main';
/** Long enough for a machine that is busy with something else. */
const DOWN_AFTER_MS = 4_000;
const SENTINELS = 3;

/** Starts all of them and waits until the sentinels know each other and the replica follows. */
export const openDedicatedRedisSentinel = async (): Promise<DedicatedRedisSentinel> => {
  await using stack = new AsyncDisposableStack();
  const program = await findRedis({ env: process.env, say: () => {} });
  const [first = 0, second = 0, ...sentinelPorts] = await freePorts(2 + SENTINELS);
  const server = async (port: number, extra: readonly string[]): Promise<DedicatedStore> => {
    const directory = stack.use(await openTestDirectory());
    const spec = redisServer({
      ...{ program, port, dataDir: join(directory.path, 'redis'), persistent: 'always', extra },
      ...{ logFile: join(directory.path, 'redis.log'), env: process.env, name: `redis-${port}` },
    });
    return stack.use(await startDedicatedStore({ spec, port, url: `redis://127.0.0.1:${port}`, directory }));
  };
  const quick = ['--repl-diskless-sync-delay', '0', '--repl-ping-replica-period', '1'];
  const primary = await server(first, quick);
  const replica = await server(second, [...quick, '--replicaof', `127.0.0.1 ${first}`]);
  const sentinels = await Promise.all(
    sentinelPorts.map(async (port) => {
      const directory = stack.use(await openTestDirectory());
      return stack.use(await startSentinel(program, port, first, directory));
    }),
  );
  const sentinelClients = sentinels.map(({ url }) => {
    const redis = new Redis(url, { maxRetriesPerRequest: 1 });
    redis.on('error', () => {});
    stack.defer(() => redis.disconnect());
    return redis;
  });
  await until(() => Promise.all(sentinelClients.map(seesAllPeers)), {
    ok: (all) => all.every(Boolean),
    what: 'the sentinels',
    timeoutMs: 30_000,
  });
  const owned = stack.move();
  return {
    url: `redis+sentinel://${sentinelPorts
      .slice(0, 2)
      .map((port) => `127.0.0.1:${port}`)
      .join(',')}/${NAME}`,
    servers: [primary, replica],
    cutReplication: () => cutReplication(primary.url),
    primaryPort: async () => {
      const seen = await Promise.all(sentinelClients.map(async (one) => Number((await primaryOf(one))[1])));
      return seen.toSorted((a, b) => a - b)[1] ?? 0;
    },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
};

/** Ends the replica's connection, and forbids it to begin again. */
const cutReplication = async (url: string): Promise<void> => {
  const primary = new Redis(url);
  await primary.call('ACL', 'SETUSER', 'default', '-psync', '-sync');
  await primary.call('CLIENT', 'KILL', 'TYPE', 'replica');
  primary.disconnect();
};

const primaryOf = async (sentinel: Redis): Promise<readonly string[]> =>
  (await sentinel.call('SENTINEL', 'GET-MASTER-ADDR-BY-NAME', NAME)) as string[];

/** True when a sentinel sees the replica and all other sentinels. */
const seesAllPeers = async (sentinel: Redis): Promise<boolean> => {
  const flat = (await sentinel.call('SENTINEL', 'MASTER', NAME)) as string[];
  const value = (name: string) => Number(flat[flat.indexOf(name) + 1]);
  return value('num-slaves') === 1 && value('num-other-sentinels') === SENTINELS - 1;
};

const startSentinel = async (
  program: Awaited<ReturnType<typeof findRedis>>,
  port: number,
  primaryPort: number,
  directory: TestDirectory,
): Promise<DedicatedStore> => {
  const config = join(directory.path, 'sentinel.conf');
  writeFileSync(
    config,
    [
      ...[`port ${port}`, 'bind 127.0.0.1', `dir ${directory.path}`, 'daemonize no'],
      `sentinel monitor ${NAME} 127.0.0.1 ${primaryPort} 2`,
      `sentinel down-after-milliseconds ${NAME} ${DOWN_AFTER_MS}`,
      `sentinel failover-timeout ${NAME} 10000`,
      `sentinel parallel-syncs ${NAME} 1`,
      '',
    ].join('\n'),
  );
  const spec = {
    child: {
      ...{ name: `sentinel-${port}`, command: program.path, argv0: program.argv0, env: process.env },
      ...{ args: [config, '--sentinel'], logFile: join(directory.path, 'sentinel.log') },
    },
    isReady: () => redisAnswers(port),
    stopSignal: 'SIGTERM' as const,
    stopDeadlineMs: 5_000,
  };
  return startDedicatedStore({ spec, port, url: `redis://127.0.0.1:${port}`, directory });
};
