import { createHash } from 'node:crypto';
import { Cluster, Redis, type RedisOptions } from 'ioredis';
import { after } from '../clock.ts';
import type { RedisConfig } from '../config-common.ts';
import { defined } from '../defined.ts';
import type { Logger } from '../logger.ts';
import type { Metrics } from '../metrics.ts';
import { parseRedisUrl, REDIS_URL_FORMS, type RedisAddress } from './address.ts';
import { autoCork } from './auto-cork.ts';
import { plainChannels, type RedisChannels, type RedisLink, shardedChannels } from './channels.ts';
import { createClusterLane, createShards, parseNodeName, type Shards } from './cluster.ts';
import { createRedisWatcher, type RedisWatcher } from './metrics.ts';

/** The Redis connections of a process, limited by REDIS_MAX_CONNECTIONS. */
export interface RedisConnections extends AsyncDisposable {
  /** Prefix of every key and Redis channel of the fleet. */
  readonly prefix: string;
  /** The least busy command connection. While Redis is unavailable its commands fail at once; nothing is queued. */
  lane(): RedisLink;
  /**
   * Runs an idempotent command, and once more on another connection after a timeout or connection fault.
   * Not for GETDEL, INCR and the like.
   */
  retry<T>(run: (redis: RedisLink) => Promise<T>): Promise<T>;
  /**
   * A dedicated connection for subscriptions or blocking reads. It reconnects without limit and resubscribes.
   * On a cluster it connects to the current owner of `channel`.
   */
  dedicated(purpose: string, channel?: string): Redis;
  /** Plain or sharded publish and subscribe. */
  readonly channels: RedisChannels;
  /** Slot owners; present on a cluster. */
  readonly shards?: Shards;
  /** Open connections and their limit; on a cluster per node. */
  count(): { readonly open: number; readonly max: number };
  /**
   * Run ids of all primaries. A new run id (restart or failover) may have lost writes that the previous server had acknowledged.
   */
  servers(): Promise<readonly string[]>;
  /**
   * Checks what the services need, with a script that writes, publishes and reads back. PING would also pass on a read-only
   * replica and for an account without permissions. Rejects with the connection error while no connection is ready.
   */
  ping(): Promise<void>;
  /** Called when a connection becomes ready or is lost. */
  onConnectionChange(listener: () => void): void;
}

const FIRST_LANES = 2;
const BUSY_LANE = 256;
const SOCKET_TIMEOUT_MS = 5_000;
const PROBE_KEY_TTL_MS = 60_000;

const isReadOnly = (error: unknown): boolean => error instanceof Error && error.message.startsWith('READONLY');
const isOwnClose = (error: unknown): boolean =>
  error instanceof Error && /Connection is closed|isn't writeable/.test(error.message);

/**
 * Opens the first connections. Resolves as soon as one is ready, or after the connect timeout: attempts then continue in the background
 * with growing, jittered pauses of at most 2.2 s. Throws for an invalid URL.
 */
export const openRedis = async (
  config: RedisConfig & { readonly name: string },
  { log, metrics }: { log: Logger; metrics: Metrics },
): Promise<RedisConnections> => {
  const address = parseRedisUrl(config.url);
  if (address === undefined) throw new Error(`REDIS_URL: expected ${REDIS_URL_FORMS}`);
  const sockets = new Set<Redis>();
  const watch = createRedisWatcher(log, metrics, () => sockets);
  const opener = createOpener({ config, address, watch, sockets });
  const lanes: RedisLink[] = [];

  const openLane = (): RedisLink => {
    const lane = opener.lane(`command-${lanes.length}`);
    lanes.push(lane);
    return lane;
  };
  const lane = (except?: RedisLink): RedisLink => {
    const usable = lanes.filter((link) => link.status === 'ready');
    const whole = usable.filter(isWhole);
    const ready = whole.length > 0 ? whole : usable;
    // The connection that just failed is better than one that is not ready.
    const [first = ready[0] ?? (lanes[0] as RedisLink), ...others] = ready.filter((link) => link !== except);
    const best = others.reduce((least, link) => (inFlight(link) < inFlight(least) ? link : least), first);
    if (inFlight(best) > BUSY_LANE && opener.open() < config.maxConnections) openLane();
    return best;
  };

  for (let count = 0; count < Math.min(FIRST_LANES, config.maxConnections - 1); count += 1) openLane();
  const [anyLane] = lanes;
  const shards =
    address.is === 'cluster' && anyLane instanceof Cluster
      ? createShards(anyLane, address, { open: opener.link, close: opener.close })
      : undefined;
  await firstContact(lanes, config.connectTimeoutMs);

  const check = createCheck(watch, (link) =>
    runProbe(link, `${config.prefix}probe:${config.name}`, shards === undefined ? 'PUBLISH' : 'SPUBLISH'),
  );
  return {
    prefix: config.prefix,
    channels: shards === undefined ? plainChannels : shardedChannels,
    ...defined({ shards }),
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
    dedicated: (purpose, channel = '') => opener.dedicated(purpose, shards?.follow(channel)),
    count: () => ({ open: opener.open(), max: config.maxConnections }),
    servers: () => runIdsOf(lane()),
    ping: () => check(lane()),
    onConnectionChange: watch.onChange,
    [Symbol.asyncDispose]: async () => {
      for (const link of lanes) link.disconnect();
      for (const link of sockets) link.disconnect();
      sockets.clear();
    },
  };
};

/** Checks a connection; rejects with the cause if it is lost. */
const createCheck = (watch: RedisWatcher, probe: (lane: RedisLink) => Promise<void>) => {
  /** Error of a replica, kept for checks while its connections are reopened until a primary answers. */
  let readOnly: unknown;
  return async (link: RedisLink): Promise<void> => {
    const fault = link.status === 'ready' ? undefined : (watch.fault() ?? readOnly);
    if (fault !== undefined) throw fault;
    try {
      await probe(link);
      readOnly = undefined;
    } catch (error) {
      if (isReadOnly(error)) readOnly = error;
      throw watch.fault() === undefined && isOwnClose(error) ? (readOnly ?? error) : error;
    }
  };
};

interface OpenerDeps {
  readonly config: RedisConfig & { readonly name: string };
  readonly address: RedisAddress;
  readonly watch: RedisWatcher;
  /** Every open connection, for metrics and disposal. */
  readonly sockets: Set<Redis>;
}

/** Opens connections of every kind within the limit. */
const createOpener = ({ config, address, watch, sockets }: OpenerDeps) => {
  /** Counted units: a command connection, a dedicated connection, or all links of one purpose to the nodes of a cluster. */
  const owners = new Set<string>();
  const admit = (purpose: string): void => {
    if (owners.size >= config.maxConnections && !owners.has(purpose)) {
      throw new Error(`REDIS_MAX_CONNECTIONS (${config.maxConnections}) is too small for ${purpose}`);
    }
    owners.add(purpose);
  };
  const base = (purpose: string) => ({ ...baseOptions(config, purpose), ...accountOf(address) });
  const start = (redis: Redis, purpose: string): Redis => {
    sockets.add(redis);
    watch.connection(redis, purpose);
    redis.connect().catch(() => {}); // The retry strategy continues; the watcher reports.
    return redis;
  };
  const single = (purpose: string, options: RedisOptions): Redis => {
    admit(purpose);
    // `legacy`: replies as in RESP2, whichever protocol version is negotiated.
    const all = {
      ...base(purpose),
      ...targetOf(address, config),
      ...options,
      replyMapping: 'legacy' as const,
    };
    return start(new Redis(all), purpose);
  };
  const cluster = (purpose: string, at: RedisAddress & { is: 'cluster' }): Cluster => {
    admit(purpose);
    const { retryStrategy: _ofEachNode, lazyConnect: _always, ...options } = base(purpose);
    const lane = createClusterLane(at, { ...options, ...laneOptions(config) });
    lane.on('+node', (node: Redis) => {
      sockets.add(node);
      watch.connection(node, purpose);
      watch.commands(node);
      autoCork(node);
      // Later: a command that discovered the node waits for its connection, further commands would not.
      setImmediate(() => warm(lane));
    });
    lane.on('ready', () => warm(lane));
    lane.on('-node', (node: Redis) => void sockets.delete(node));
    lane.on('error', () => {}); // Each node has its own handler.
    lane.connect().catch(() => {});
    return lane;
  };
  return {
    open: () => owners.size,
    lane: (purpose: string): RedisLink => {
      if (address.is === 'cluster') return cluster(purpose, address);
      const lane = single(purpose, { ...laneOptions(config), enableOfflineQueue: false });
      watch.commands(lane);
      autoCork(lane);
      return lane;
    },
    dedicated: (purpose: string, options: RedisOptions = {}): Redis => single(purpose, { ...LISTENING, ...options }),
    link: (purpose: string, node: string): Redis => {
      admit(purpose);
      const options = {
        ...base(purpose),
        ...LISTENING,
        ...parseNodeName(node),
        replyMapping: 'legacy' as const,
      };
      return start(new Redis(options), purpose);
    },
    close: (link: Redis): void => {
      sockets.delete(link);
      link.disconnect();
    },
  };
};

const LISTENING: RedisOptions = { autoResubscribe: true, maxRetriesPerRequest: null, blockingTimeout: 0 };

const laneOptions = (config: RedisConfig): RedisOptions => ({
  commandTimeout: config.commandTimeoutMs,
  socketTimeout: SOCKET_TIMEOUT_MS,
});

const baseOptions = (config: RedisConfig & { name: string }, purpose: string): RedisOptions => ({
  connectionName: `${config.name}#${purpose}`.replaceAll(/\s/g, '-'),
  connectTimeout: config.connectTimeoutMs,
  keepAlive: 10_000,
  lazyConnect: true,
  maxRetriesPerRequest: 1,
  autoResendUnfulfilledCommands: false,
  retryStrategy: pause,
  // After a failover the old primary is read-only: leave it.
  reconnectOnError: isReadOnly,
});

const pause = (times: number): number => Math.min(50 * 2 ** times, 2_000) + Math.random() * 200;

const accountOf = (address: RedisAddress): RedisOptions => {
  const { username, password, isTls } = address;
  return {
    ...defined({ username, password }),
    ...(isTls ? { tls: {} } : {}),
  };
};

/** Sentinels are queried for the primary before each connection, and report a failover at once. */
const targetOf = (address: RedisAddress, config: RedisConfig): RedisOptions => {
  if (address.is === 'cluster') return {};
  if (address.is === 'single') return { host: address.host, port: address.port, db: address.db };
  return {
    sentinels: [...address.sentinels],
    name: address.primary,
    db: address.db,
    role: 'master',
    failoverDetector: true,
    sentinelCommandTimeout: config.connectTimeoutMs,
    sentinelRetryStrategy: pause,
    enableTLSForSentinelMode: address.isTls,
    ...(address.isTls ? { sentinelTLS: {} } : {}),
    ...defined({ sentinelPassword: config.sentinelPassword }),
  };
};

/** Connects to all nodes before the first command needs them. Not before the cluster is ready: the library does that itself. */
const warm = (lane: Cluster): void => {
  if (lane.status !== 'ready') return;
  for (const node of lane.nodes('master')) if (node.status === 'wait') node.connect().catch(() => {});
};

/** True when every node is connected. */
const isWhole = (lane: RedisLink): boolean =>
  !(lane instanceof Cluster) || lane.nodes('master').every(({ status }) => status === 'ready');

const inFlight = (lane: RedisLink): number =>
  lane instanceof Cluster
    ? lane.nodes('master').reduce((sum, node) => sum + node.commandQueue.length, 0)
    : lane.commandQueue.length;

const runIdsOf = async (lane: RedisLink): Promise<string[]> => {
  const nodes = lane instanceof Cluster ? lane.nodes('master') : [lane];
  const infos = await Promise.all(nodes.map((node) => node.info('server')));
  return infos.flatMap((info) => /^run_id:(\w+)/m.exec(info)?.[1] ?? []);
};

/** KEYS probe · ARGV value, ttl in ms, publish command, channel. The channel has the slot of the key. */
const PROBE_SCRIPT = `redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
redis.call(ARGV[3], ARGV[4], ARGV[1])
return redis.call('GET', KEYS[1])`;
const PROBE_SHA = createHash('sha1').update(PROBE_SCRIPT).digest('hex');

/** Runs the probe script; on a cluster every primary must answer as well. */
const runProbe = async (lane: RedisLink, key: string, publish: 'PUBLISH' | 'SPUBLISH'): Promise<void> => {
  if (lane instanceof Cluster) await Promise.all(lane.nodes('master').map((node) => node.ping()));
  const sent = String(process.hrtime.bigint());
  const args = [key, sent, PROBE_KEY_TTL_MS, publish, key] as const;
  const answer = await lane.evalsha(PROBE_SHA, 1, ...args).catch((error: unknown) => {
    if (!(error instanceof Error) || !error.message.startsWith('NOSCRIPT')) throw error;
    return lane.eval(PROBE_SCRIPT, 1, ...args);
  });
  if (answer !== sent) throw new Error('the probe key was not read back');
};

/** Resolves when a connection is ready or closed, or after the timeout. */
const firstContact = (lanes: readonly RedisLink[], timeoutMs: number): Promise<void> =>
  new Promise((resolve) => {
    const stop = after(timeoutMs, resolve);
    const done = () => {
      stop();
      resolve();
    };
    for (const lane of lanes) {
      lane.once('close', done).once('ready', () => {
        const nodes = lane instanceof Cluster ? lane.nodes('master') : [];
        for (const node of nodes) node.once('ready', () => isWhole(lane) && done());
        if (isWhole(lane)) done();
      });
    }
  });

const FAULT_REPLIES =
  /^(READONLY|LOADING|MASTERDOWN|CLUSTERDOWN|TRYAGAIN|OOM|BUSY|NOREPLICAS|MISCONF|NOAUTH|WRONGPASS|NOPERM|UNBLOCKED)/;
/** Faults without an error code of their own: permissions inside a script, an unknown database, too many clients. */
const FAULT_ERR =
  /^ERR (The user executing the script can't|ACL failure in script|DB index is out of range|invalid DB index|SELECT is not allowed|max number of clients)/;
const FAULT_TEXTS =
  /Connection is closed|isn't writeable|Command timed out|Socket timeout|ECONN|EPIPE|ETIMEDOUT|ENOTFOUND|EAI_AGAIN|EHOSTUNREACH|max retries per request|probe key|Cluster isn't ready|startup nodes|Cluster is ended|Cluster redirections|Failed to refresh slots|sentinels are unreachable/i;

/** True for a fault of Redis or the network, false for an invalid command. */
export const isRedisFault = (error: unknown): boolean => {
  if (!(error instanceof Error)) return false;
  if (error.name === 'ReplyError') return FAULT_REPLIES.test(error.message) || FAULT_ERR.test(error.message);
  return error.name === 'TimeoutError' || error.name === 'MaxRetriesPerRequestError' || FAULT_TEXTS.test(error.message);
};
