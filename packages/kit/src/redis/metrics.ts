import type { LabelsOfMetric } from '@muster/telemetry/metric-catalogue';
import type { Redis } from 'ioredis';
import type { Logger } from '../logger.ts';
import type { Metrics } from '../metrics.ts';

/** Metrics and log of the Redis connections of a process. */
export interface RedisWatcher {
  /** Called when a connection becomes ready or is lost. */
  onChange(listener: () => void): void;
  /** Logs loss and recovery of a connection, and exposes its state. */
  connection(redis: Redis, purpose: string): void;
  /** Error of the last failed connection attempt, while no connection is ready. */
  fault(): Error | undefined;
  /** Times the commands of a connection and counts failures. */
  commands(redis: Redis): void;
}

const STATES = ['ready', 'connecting', 'reconnecting', 'end'] as const;

/** Label values; any other command is `other`. */
const COMMANDS = new Set(
  (
    'get set mget del eval evalsha publish multi exec xadd xrange xrevrange zadd zpopmin zmscore getdel hgetall hset ' +
    'subscribe unlink'
  ).split(' '),
);

/** Reports the connections that `own` lists at the time of a scrape. */
export const createRedisWatcher = (log: Logger, metrics: Metrics, own: () => Iterable<Redis>): RedisWatcher => {
  const purposes = new WeakMap<Redis, string>();
  const faults = new WeakMap<Redis, Error>();
  const reconnects = metrics.counter('redis_client_reconnects_total');
  const listeners: (() => void)[] = [];
  const changed = (): void => {
    for (const listener of listeners) listener();
  };
  const failovers = metrics.counter('redis_client_failovers_total').with({});
  reportStates(metrics, () => [...own()].map((redis) => ({ redis, client: purposes.get(redis) ?? 'other' })));
  return {
    onChange: (listener) => void listeners.push(listener),
    fault: () => [...own()].map((redis) => faults.get(redis)).find((error) => error !== undefined),
    commands: createCommandMeter(metrics, (redis) => purposes.get(redis) ?? 'other'),
    connection: (redis, purpose) => {
      purposes.set(redis, purpose);
      let lost = false;
      let isFirst = true;
      redis.on('error', (error) => {
        // The first error of an attempt is its cause, the following errors are consequences.
        if (isFirst) faults.set(redis, error);
        isFirst = false;
        // Otherwise the library would continue in database 0.
        if (isFailedSelect(error)) redis.disconnect(true);
        if (error.message.startsWith('READONLY')) failovers.inc();
        if (!lost) log.warn({ client: purpose, message: error.message }, 'redis.connection_failed');
        lost = true;
      });
      redis.on('ready', () => {
        faults.delete(redis);
        if (lost) log.info({ client: purpose }, 'redis.connection_restored');
        lost = false;
        changed();
      });
      redis.on('close', () => {
        isFirst = true;
        changed();
      });
      redis.on('reconnecting', () => reconnects.inc({ client: purpose }));
    },
  };
};

/** True for a failed SELECT of the handshake; the parser attaches the command to each error. */
const isFailedSelect = (error: Error & { command?: { name?: string } }): boolean => error.command?.name === 'select';

const reportStates = (metrics: Metrics, own: () => readonly { redis: Redis; client: string }[]): void => {
  const status = metrics.gauge('redis_client_status');
  const pending = metrics.gauge('redis_client_pending_commands');
  const offline = metrics.gauge('redis_client_offline_queue_length');
  metrics.onCollect(() => {
    for (const gauge of [status, pending, offline]) gauge.reset();
    for (const { redis, client } of own()) {
      const state = STATES.find((each) => each === redis.status) ?? 'connecting';
      status.set({ client, status: state }, 1);
      pending.set({ client }, redis.commandQueue.length);
      offline.set({ client }, offlineLength(redis));
    }
  });
};

/** The queue is a private member of ioredis. */
const offlineLength = (redis: Redis): number =>
  (Reflect.get(redis, 'offlineQueue') as { length?: number } | undefined)?.length ?? 0;

const createCommandMeter = (metrics: Metrics, clientOf: (redis: Redis) => string) => {
  const duration = metrics.histogram('redis_client_command_duration_seconds');
  const errors = metrics.counter('redis_client_command_errors_total');
  return (redis: Redis): void => {
    const client = clientOf(redis);
    const timers = new Map<string, { observe(seconds: number): void }>();
    const timerOf = (name: string) => {
      const command = COMMANDS.has(name) ? name : 'other';
      let timer = timers.get(command);
      if (timer === undefined) {
        timer = duration.with({ client, command });
        timers.set(command, timer);
      }
      return timer;
    };
    const send = redis.sendCommand.bind(redis);
    redis.sendCommand = (command, stream) => {
      // Commands of the handshake are not counted: older servers refuse some of them.
      if (redis.status !== 'ready') return send(command, stream);
      const startedAt = performance.now();
      const timer = timerOf(command.name);
      command.promise.then(
        () => timer.observe((performance.now() - startedAt) / 1000),
        (error: unknown) => errors.inc({ client, reason: reasonOf(error) }),
      );
      return send(command, stream);
    };
  };
};

type Reason = LabelsOfMetric<'redis_client_command_errors_total'>['reason'];

const REASONS: readonly (readonly [RegExp, Reason])[] = [
  [/timed out|timeout/i, 'timeout'],
  [/^READONLY/, 'readonly'],
  [/^(MOVED|ASK)/, 'moved'],
  [/^OOM/, 'oom'],
  [/^NOPERM|executing the script can't|ACL failure in script/, 'permission'],
  [/^NOSCRIPT/, 'noscript'],
  [/Connection is closed|isn't writeable|ECONN|EPIPE|max retries/i, 'connection'],
];

const reasonOf = (error: unknown): Reason => {
  const message = error instanceof Error ? error.message : '';
  return REASONS.find(([pattern]) => pattern.test(message))?.[1] ?? 'other';
};
