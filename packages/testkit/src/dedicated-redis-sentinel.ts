import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { freePorts } from '@muster/local/ports';
import { findRedis, redisAnswers, redisUrl } from '@muster/local/redis';
import { foregroundServer } from '@muster/local/server-process';
import { Redis } from 'ioredis';
import { type DedicatedStore, openDedicatedRedis, startDedicatedStore } from './dedicated-store.ts';
import { openTestDirectory } from './test-directory.ts';
import { until } from './wait.ts';

/** A primary, a replica and three sentinels of one test. */
export interface DedicatedRedisSentinel extends AsyncDisposable {
  /** Contains two of the sentinels; clients discover the third. */
  readonly url: string;
  /** The initial primary and the initial replica. */
  readonly servers: readonly [DedicatedStore, DedicatedStore];
  /** Stops replication; sentinels and clients still reach the primary. */
  cutReplication(): Promise<void>;
  /** Port of the primary according to the majority of sentinels. */
  primaryPort(): Promise<number>;
}

const NAME = 'main';
/** Long enough for a busy machine. */
const DOWN_AFTER_MS = 4_000;
const SENTINELS = 3;

/** Starts all processes and waits until the sentinels see each other and the replica. */
export const openDedicatedRedisSentinel = async (): Promise<DedicatedRedisSentinel> => {
  await using stack = new AsyncDisposableStack();
  const [first = 0, second = 0, ...sentinelPorts] = await freePorts(2 + SENTINELS);
  const server = async (port: number, extra: readonly string[]): Promise<DedicatedStore> =>
    stack.use(await openDedicatedRedis({ port, persistent: 'always', name: `redis-${port}`, extra }));
  const quick = ['--repl-diskless-sync-delay', '0', '--repl-ping-replica-period', '1'];
  const primary = await server(first, quick);
  const replica = await server(second, [...quick, '--replicaof', `127.0.0.1 ${first}`]);
  const sentinels = await Promise.all(sentinelPorts.map(async (port) => stack.use(await startSentinel(port, first))));
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
      const seen = await Promise.all(sentinelClients.map(async (each) => Number((await primaryOf(each))[1])));
      return seen.toSorted((a, b) => a - b)[1] ?? 0;
    },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
};

/** Closes the connection of the replica and denies further connections. */
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

const startSentinel = async (port: number, primaryPort: number): Promise<DedicatedStore> => {
  const program = await findRedis({ env: process.env, log: () => {} });
  const directory = await openTestDirectory();
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
  const spec = foregroundServer({
    ...{ name: `sentinel-${port}`, program, port, env: process.env },
    ...{ args: [config, '--sentinel'], logFile: join(directory.path, 'sentinel.log') },
    isReady: () => redisAnswers(port),
  });
  return startDedicatedStore({ spec, port, url: redisUrl(port), directory });
};
