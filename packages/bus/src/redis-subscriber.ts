import { every, TimeoutError, within } from '@muster/kit/clock';
import { createFaultLog } from '@muster/kit/fault-log';
import type { Logger } from '@muster/kit/logger';
import type { RedisChannels } from '@muster/kit/redis/channels';
import { slotOf } from '@muster/kit/redis/cluster';
import { AppError } from '@muster/protocol/errors';
import type { Redis } from 'ioredis';

export interface SubscriberHandlers {
  readonly log: Logger;
  onMessage(channel: string, bytes: Buffer): void;
  /** A link is lost. */
  onLost(): void;
  /** Messages in between may be missing. */
  onReconnected(): void;
  /** The channel is subscribed no more and was not asked for again. */
  onForgotten(channel: string): void;
}

/** The set of Redis channels this process listens to, kept through reconnects. */
export interface Subscriber {
  /** Resolves when the channel is listened to; throws REDIS_UNAVAILABLE when the link is down. */
  add(channel: string): Promise<void>;
  /** From now on listens to it whenever that is possible, and tells after each time that it was not. */
  keep(channel: string): void;
  /** Gives a channel up, unless it is wanted again within a second. */
  remove(channel: string): void;
  isUp(): boolean;
  has(channel: string): boolean;
  size(): number;
  close(): void;
}

/** A subscriber over one connection. */
export interface LinkSubscriber extends Subscriber {
  /** Gives a channel up at once: somebody else listens to it now. */
  drop(channel: string): void;
  /** Says again what it wants: the server may have forgotten some of it. */
  renew(): void;
}

/** Names in one SUBSCRIBE command. */
const BATCH = 512;
/** How long an unwanted channel is kept, in case it is wanted again. */
const LINGER_MS = 1_000;
/** A subscription that takes longer is given up. */
const SUBSCRIBE_TIMEOUT_MS = 2_000;

/**
 * Follows one connection that is used for nothing else. Additions of one turn become one command, removals wait for a
 * second and go in batches, and after a reconnect everything is subscribed again before `onReconnected`.
 */
export const createSubscriber = (
  redis: Redis,
  channels: RedisChannels,
  handlers: SubscriberHandlers,
): LinkSubscriber => {
  const wanted = new Set<string>();
  const listening = createListening(redis, channels);
  const start = createBatcher(listening.start, (channel) => wanted.delete(channel));
  let everReady = false;
  const subscribing = createFaultLog(handlers.log, {
    event: 'bus.subscribe_failed',
    overEvent: 'bus.subscribed',
  });

  const renew = async (): Promise<void> => {
    if (redis.status !== 'ready') return;
    try {
      await listening.start([...wanted]);
      subscribing.recovered();
      if (everReady) handlers.onReconnected();
      everReady = true;
    } catch (error) {
      // The owner of the channel is asked for elsewhere; the others are listened to.
      if (isMoved(error)) return;
      subscribing.failed({ error });
      // Never stay connected and deaf.
      redis.disconnect(true);
    }
  };
  const renewSoon = oncePerTurn(() => void renew());
  const forget = (names: readonly string[]): void => {
    for (const channel of names) {
      wanted.delete(channel);
      handlers.onForgotten(channel);
    }
    listening.stop(names);
  };
  const leaving = createLingering(forget);
  const onMessage = (channel: Buffer, bytes: Buffer) => handlers.onMessage(channel.toString('utf8'), bytes);
  const onReady = () => void renew();
  const onClose = () => handlers.onLost();

  redis.on('ready', onReady).on('close', onClose).on(channels.event, onMessage);
  if (redis.status === 'ready') onReady();

  return {
    add: async (channel) => {
      leaving.cancel(channel);
      if (redis.status !== 'ready') throw new AppError('REDIS_UNAVAILABLE');
      if (listening.has(channel)) return;
      wanted.add(channel);
      return start(channel);
    },
    keep: (channel) => {
      wanted.add(channel);
      if (redis.status === 'ready' && !listening.has(channel)) renewSoon();
    },
    remove: (channel) => leaving.add(channel),
    drop: (channel) => {
      leaving.cancel(channel);
      wanted.delete(channel);
      listening.stop([channel]);
    },
    renew: () => {
      listening.clear();
      renewSoon();
    },
    isUp: () => redis.status === 'ready',
    has: (channel) => listening.has(channel),
    size: () => listening.size(),
    close: () => {
      leaving.stop();
      listening.close();
      redis.off('ready', onReady).off('close', onClose).off(channels.event, onMessage);
      redis.disconnect();
    },
  };
};

/** Channels that are asked for in one turn are subscribed together. Rejects with REDIS_UNAVAILABLE. */
const createBatcher = (
  start: (channels: readonly string[]) => Promise<void>,
  onFailed: (channel: string) => void,
): ((channel: string) => Promise<void>) => {
  const queued = new Map<string, PromiseWithResolvers<void>>();

  const flush = async (): Promise<void> => {
    const batch = new Map(queued);
    queued.clear();
    try {
      await start([...batch.keys()]);
      for (const waiting of batch.values()) waiting.resolve();
    } catch (cause) {
      for (const [channel, waiting] of batch) {
        onFailed(channel);
        waiting.reject(new AppError('REDIS_UNAVAILABLE', { cause }));
      }
    }
  };
  return (channel) => {
    const known = queued.get(channel);
    if (known) return known.promise;
    if (queued.size === 0) setImmediate(() => void flush());
    const waiting = Promise.withResolvers<void>();
    queued.set(channel, waiting);
    return waiting.promise;
  };
};

const oncePerTurn = (run: () => void): (() => void) => {
  let waiting = false;
  return () => {
    if (waiting) return;
    waiting = true;
    setImmediate(() => {
      waiting = false;
      run();
    });
  };
};

/** True when another node of a cluster has the channel. */
const isMoved = (error: unknown): boolean => error instanceof Error && error.message.startsWith('MOVED ');

/** What Redis has confirmed on the present link. */
const createListening = (redis: Redis, channels: RedisChannels) => {
  const active = new Set<string>();
  let link = newLink();
  const onClose = () => {
    active.clear();
    link.reject(new Error('the connection was lost'));
    link = newLink();
  };
  redis.on('close', onClose);

  const subscribe = async (names: readonly string[]): Promise<void> => {
    // ioredis never settles what was under way on a connection that broke.
    await Promise.race([channels.subscribe(redis, names), link.promise]);
    for (const channel of names) active.add(channel);
  };
  return {
    has: (channel: string): boolean => active.has(channel),
    size: (): number => active.size,
    clear: (): void => active.clear(),
    /** Resolves when all are subscribed. Gives the link up when it does not answer in time. */
    start: async (names: readonly string[]): Promise<void> => {
      for (const batch of batches(names.filter((one) => !active.has(one)))) {
        const answers = Promise.allSettled(commandsFor(channels, batch).map(subscribe));
        try {
          const failed = (await within(SUBSCRIBE_TIMEOUT_MS, 'subscribe', answers)).filter(
            (one) => one.status === 'rejected',
          );
          const worst = failed.find(({ reason }) => !isMoved(reason)) ?? failed[0];
          if (worst !== undefined) throw worst.reason;
        } catch (error) {
          if (error instanceof TimeoutError) redis.disconnect(true);
          throw error;
        }
      }
    },
    stop: (names: readonly string[]): void => {
      const known = names.filter((channel) => active.delete(channel));
      if (redis.status !== 'ready') return;
      // A link lost meanwhile has unsubscribed them too.
      for (const batch of batches(known)) {
        for (const command of commandsFor(channels, batch)) {
          channels.unsubscribe(redis, command).catch(() => {});
        }
      }
    },
    close: () => void redis.off('close', onClose),
  };
};

/** Names that may stand in one command. */
const commandsFor = ({ isSharded }: RedisChannels, names: readonly string[]): (readonly string[])[] =>
  isSharded ? [...Map.groupBy(names, slotOf).values()] : [names];

function* batches(channels: readonly string[]): Iterable<readonly string[]> {
  for (let from = 0; from < channels.length; from += BATCH) yield channels.slice(from, from + BATCH);
}

/** Names that nobody wants now, handed over in batches when that has lasted for a second. */
const createLingering = (forget: (channels: readonly string[]) => void) => {
  const since = new Map<string, number>();
  let tick = 0;
  const stop = every(LINGER_MS / 2, () => {
    tick += 1;
    const due = [...since].filter(([, from]) => tick - from > 2).map(([channel]) => channel);
    for (const channel of due) since.delete(channel);
    if (due.length > 0) forget(due);
  });
  return {
    add: (channel: string): void => void since.set(channel, tick),
    cancel: (channel: string): void => void since.delete(channel),
    stop,
  };
};

/** Rejects when the connection breaks. */
const newLink = (): PromiseWithResolvers<never> => {
  const link = Promise.withResolvers<never>();
  link.promise.catch(() => {});
  return link;
};
