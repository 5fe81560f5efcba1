import { Redis, type RedisOptions } from 'ioredis';
import { after } from './clock.ts';
import type { RedisConfig } from './config.ts';
import type { Logger } from './logger.ts';
import type { Metrics } from './metrics.ts';
import { createRedisWatcher } from './redis-metrics.ts';

/** The Redis connections of one process, under one hard cap. */
export interface RedisConnections extends AsyncDisposable {
  /** Starts every key and channel of this fleet. */
  readonly prefix: string;
  /** The least busy command connection. A command on it fails at once while Redis is away: nothing queues up. */
  lane(): Redis;
  /**
   * Runs a command that may safely run twice, once more on another lane after a timeout or connection fault.
   * Never use it for GETDEL, INCR and the like.
   */
  retry<T>(run: (redis: Redis) => Promise<T>): Promise<T>;
  /** A connection of its own for subscriptions or blocking reads. It reconnects for ever and subscribes again by itself. */
  dedicated(purpose: string): Redis;
  /** Connections of this process, and the most it may have. */
  count(): { readonly open: number; readonly max: number };
  /** Writes and reads back a probe key: PING alone also passes on a read-only replica. */
  ping(): Promise<void>;
}

const FIRST_LANES = 2;
const BUSY_LANE = 256;
const SOCKET_TIMEOUT_MS = 5_000;
const PROBE_KEY_TTL_MS = 60_000;

/**
 * Opens the first connections. Resolves as soon as one is ready, and also when Redis is away: then they go on
 * trying in the background with growing, jittered pauses of at most 2.2 s.
 */
export const openRedis = async (
  config: RedisConfig & { readonly name: string },
  { log, metrics }: { log: Logger; metrics: Metrics },
): Promise<RedisConnections> => {
  const lanes: Redis[] = [];
  const own = new Set<Redis>();
  const watch = createRedisWatcher(log, metrics, () => own);

  const open = (purpose: string, options: RedisOptions): Redis => {
    if (own.size >= config.maxConnections) {
      throw new Error(`REDIS_MAX_CONNECTIONS (${config.maxConnections}) is too small for ${purpose}`);
    }
    // `legacy` keeps the replies of RESP2 whatever the wire speaks.
    const redis = new Redis(config.url, {
      ...baseOptions(config, purpose),
      ...options,
      replyMapping: 'legacy' as const,
    });
    own.add(redis);
    watch.connection(redis, purpose);
    redis.connect().catch(() => {}); // The retry strategy goes on; the watcher reports.
    return redis;
  };
  const openLane = () => {
    const lane = open(`command-${lanes.length}`, {
      commandTimeout: config.commandTimeoutMs,
      socketTimeout: SOCKET_TIMEOUT_MS,
      enableOfflineQueue: false,
    });
    watch.commands(lane);
    lanes.push(lane);
    return lane;
  };
  const lane = (except?: Redis): Redis => {
    const ready = lanes.filter((one) => one.status === 'ready');
    // The lane that just failed is better than one that is not there yet.
    const [first = ready[0] ?? (lanes[0] as Redis), ...others] = ready.filter((one) => one !== except);
    const best = others.reduce((least, one) => (inFlight(one) < inFlight(least) ? one : least), first);
    if (inFlight(best) > BUSY_LANE && own.size < config.maxConnections) openLane();
    return best;
  };

  for (let count = 0; count < Math.min(FIRST_LANES, config.maxConnections - 1); count += 1) openLane();
  await firstContact(lanes, config.connectTimeoutMs);

  return {
    prefix: config.prefix,
    lane: () => lane(),
    retry: async (run) => {
      const first = lane();
      try {
        return await run(first);
      } catch (error) {
        if (!isRedisFault(error)) throw error;
        return run(lane(first));
      }
    },
    dedicated: (purpose) =>
      open(purpose, { autoResubscribe: true, maxRetriesPerRequest: null, blockingTimeout: 0 }),
    count: () => ({ open: own.size, max: config.maxConnections }),
    ping: async () => {
      const key = `${config.prefix}probe:${config.name}`;
      const sent = String(process.hrtime.bigint());
      const replies = await lane().multi().set(key, sent, 'PX', PROBE_KEY_TTL_MS).get(key).exec();
      const failed = replies?.find(([error]) => error !== null)?.[0];
      if (failed) throw failed;
      if (replies?.[1]?.[1] !== sent) throw new Error('the probe key was not read back');
    },
    [Symbol.asyncDispose]: async () => {
      for (const redis of own) redis.disconnect();
      own.clear();
    },
  };
};

const baseOptions = (config: RedisConfig & { name: string }, purpose: string): RedisOptions => ({
  connectionName: `${config.name}#${purpose}`.replaceAll(/\s/g, '-'),
  connectTimeout: config.connectTimeoutMs,
  keepAlive: 10_000,
  lazyConnect: true,
  maxRetriesPerRequest: 1,
  autoResendUnfulfilledCommands: false,
  retryStrategy: (times) => Math.min(50 * 2 ** times, 2_000) + Math.random() * 200,
  // After a failover the old primary is read-only: leave it.
  reconnectOnError: (error) => error.message.startsWith('READONLY'),
});

const inFlight = (redis: Redis): number => redis.commandQueue.length;

/** Resolves when one lane is ready, or when the wait has been long enough to go on without. */
const firstContact = (lanes: readonly Redis[], timeoutMs: number): Promise<void> =>
  new Promise((resolve) => {
    const stop = after(timeoutMs, resolve);
    const done = () => {
      stop();
      resolve();
    };
    for (const lane of lanes) lane.once('ready', done).once('close', done);
  });

const FAULT_REPLIES =
  /^(READONLY|LOADING|MASTERDOWN|CLUSTERDOWN|TRYAGAIN|OOM|BUSY|NOREPLICAS|MISCONF|NOAUTH|WRONGPASS|UNBLOCKED)/;
const FAULT_TEXTS =
  /Connection is closed|isn't writeable|Command timed out|Socket timeout|ECONN|EPIPE|ETIMEDOUT|ENOTFOUND|EAI_AGAIN|EHOSTUNREACH|max retries per request|probe key/i;

/** True when Redis or the way to it failed, false when our command was wrong. */
export const isRedisFault = (error: unknown): boolean => {
  if (!(error instanceof Error)) return false;
  if (error.name === 'ReplyError') return FAULT_REPLIES.test(error.message);
  return (
    error.name === 'TimeoutError' ||
    error.name === 'MaxRetriesPerRequestError' ||
    FAULT_TEXTS.test(error.message)
  );
};
