import { every, type Stop, TimeoutError, within } from '@muster/kit/clock';
import { flushAtEndOfTurn } from '@muster/kit/end-of-turn';
import { createFaultLog } from '@muster/kit/fault-log';
import type { Logger } from '@muster/kit/logger';
import type { RedisChannels } from '@muster/kit/redis/channels';
import { slotOf } from '@muster/kit/redis/cluster';
import { AppError } from '@muster/protocol/errors';
import type { Redis } from 'ioredis';

export interface SubscriberHandlers {
  readonly log: Logger;
  onMessage(channel: string, bytes: Buffer): void;
  /** Called when a connection is lost. */
  onLost(): void;
  /** Called when all channels are subscribed again; messages of the outage are missing. */
  onReconnected(): void;
  /** Called after a channel was unsubscribed. */
  onUnsubscribed(channel: string): void;
}

/** Set of subscribed Redis channels, restored after reconnects. */
export interface Subscriber {
  /** Resolves when the channel is subscribed; throws REDIS_UNAVAILABLE when the connection is down. */
  add(channel: string): Promise<void>;
  /** Subscribes as soon as the connection is ready; `onReconnected` follows every interruption. */
  keep(channel: string): void;
  /** Unsubscribes after a second, unless the channel is added again. */
  remove(channel: string): void;
  isUp(): boolean;
  has(channel: string): boolean;
  size(): number;
  close(): void;
}

/** Subscriber on one connection. */
export interface LinkSubscriber extends Subscriber {
  /** Unsubscribes at once: the channel is subscribed on another node. */
  drop(channel: string): void;
  /** Subscribes every channel again: the server may have dropped some. */
  renew(): void;
}

/** Maximum of channels in one SUBSCRIBE command. */
const BATCH = 512;
/** Delay of an unsubscription. */
const LINGER_MS = 1_000;
const SUBSCRIBE_TIMEOUT_MS = 2_000;

/**
 * Manages a dedicated connection. Additions of one turn of the event loop become one command, removals are delayed by a
 * second and batched, and after a reconnect every channel is subscribed again before `onReconnected`.
 */
export const createSubscriber = (
  redis: Redis,
  channels: RedisChannels,
  handlers: SubscriberHandlers,
): LinkSubscriber => {
  const wanted = new Set<string>();
  const confirmed = createConfirmedChannels(redis, channels);
  const start = createBatcher(confirmed.start, (channel) => wanted.delete(channel));
  let everReady = false;
  const subscribing = createFaultLog(handlers.log, {
    event: 'bus.subscribe_failed',
    overEvent: 'bus.subscribed',
  });

  const renew = async (): Promise<void> => {
    if (redis.status !== 'ready') return;
    try {
      await confirmed.start([...wanted]);
      subscribing.recovered();
      if (everReady) handlers.onReconnected();
      everReady = true;
    } catch (error) {
      // The `moved` event finds the new owner of the channel; the other channels are subscribed.
      if (isMoved(error)) return;
      subscribing.failed({ error });
      // A connection without its subscriptions must not stay open.
      redis.disconnect(true);
    }
  };
  const scheduleRenew = oncePerTurn(() => void renew());
  const unsubscribe = (names: readonly string[]): void => {
    for (const channel of names) {
      wanted.delete(channel);
      handlers.onUnsubscribed(channel);
    }
    confirmed.stop(names);
  };
  const removals = createDelayedRemovals(unsubscribe);
  const onMessage = (channel: Buffer, bytes: Buffer) => handlers.onMessage(channel.toString('utf8'), bytes);
  const onReady = () => void renew();
  const onClose = () => handlers.onLost();

  redis.on('ready', onReady).on('close', onClose).on(channels.event, onMessage);
  if (redis.status === 'ready') onReady();

  return {
    add: (channel) => {
      if (redis.status !== 'ready') return Promise.reject(new AppError('REDIS_UNAVAILABLE'));
      removals.cancel(channel);
      if (confirmed.has(channel)) return SUBSCRIBED;
      wanted.add(channel);
      return start(channel);
    },
    keep: (channel) => {
      wanted.add(channel);
      if (redis.status === 'ready' && !confirmed.has(channel)) scheduleRenew();
    },
    remove: (channel) => removals.add(channel),
    drop: (channel) => {
      removals.cancel(channel);
      wanted.delete(channel);
      confirmed.stop([channel]);
    },
    renew: () => {
      confirmed.clear();
      scheduleRenew();
    },
    isUp: () => redis.status === 'ready',
    has: (channel) => confirmed.has(channel),
    size: () => confirmed.size(),
    close: () => {
      removals.stop();
      confirmed.close();
      redis.off('ready', onReady).off('close', onClose).off(channels.event, onMessage);
      redis.disconnect();
    },
  };
};

const SUBSCRIBED = Promise.resolve();

/** Subscribes the channels of one turn of the event loop together; they share a promise. Rejects with REDIS_UNAVAILABLE. */
const createBatcher = (
  start: (channels: readonly string[]) => Promise<void>,
  onFailed: (channel: string) => void,
): ((channel: string) => Promise<void>) => {
  let batch: { readonly channels: Set<string>; readonly subscribed: Promise<void> } | undefined;

  const flush = async (channels: ReadonlySet<string>): Promise<void> => {
    batch = undefined;
    try {
      await start([...channels]);
    } catch (cause) {
      for (const channel of channels) onFailed(channel);
      throw new AppError('REDIS_UNAVAILABLE', { cause });
    }
  };
  return (channel) => {
    if (batch === undefined) {
      const channels = new Set<string>();
      const { promise, resolve } = Promise.withResolvers<void>();
      batch = { channels, subscribed: promise };
      flushAtEndOfTurn('redis_commands', { flush: () => resolve(flush(channels)) });
    }
    batch.channels.add(channel);
    return batch.subscribed;
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

/** True when another node of the cluster owns the slot. */
const isMoved = (error: unknown): boolean => error instanceof Error && error.message.startsWith('MOVED ');

/** Channels whose subscription Redis has confirmed on the current connection. */
const createConfirmedChannels = (redis: Redis, channels: RedisChannels) => {
  const active = new Set<string>();
  let link = newLink();
  const onClose = () => {
    active.clear();
    link.reject(new Error('the connection was lost'));
    link = newLink();
  };
  redis.on('close', onClose);

  const subscribe = async (names: readonly string[]): Promise<void> => {
    // ioredis does not settle commands in flight on a broken connection.
    await Promise.race([channels.subscribe(redis, names), link.promise]);
    for (const channel of names) active.add(channel);
  };
  return {
    has: (channel: string): boolean => active.has(channel),
    size: (): number => active.size,
    clear: (): void => active.clear(),
    /** Resolves when all are subscribed. Reconnects when Redis does not answer within {@link SUBSCRIBE_TIMEOUT_MS}. */
    start: async (names: readonly string[]): Promise<void> => {
      for (const batch of batches(names.filter((name) => !active.has(name)))) {
        const answers = Promise.allSettled(commandsFor(channels, batch).map(subscribe));
        try {
          const failed = (await within(SUBSCRIBE_TIMEOUT_MS, 'subscribe', answers)).filter(
            (result) => result.status === 'rejected',
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
      // A lost connection has unsubscribed them, too.
      for (const batch of batches(known)) {
        for (const command of commandsFor(channels, batch)) {
          channels.unsubscribe(redis, command).catch(() => {});
        }
      }
    },
    close: () => void redis.off('close', onClose),
  };
};

/** Channels by command: on a cluster one command per slot. */
const commandsFor = ({ isSharded }: RedisChannels, names: readonly string[]): (readonly string[])[] =>
  isSharded ? [...Map.groupBy(names, slotOf).values()] : [names];

function* batches(channels: readonly string[]): Iterable<readonly string[]> {
  for (let from = 0; from < channels.length; from += BATCH) yield channels.slice(from, from + BATCH);
}

/** Removed channels, passed to `unsubscribe` in batches after a second. The timer runs while there are any. */
const createDelayedRemovals = (unsubscribe: (channels: readonly string[]) => void) => {
  const since = new Map<string, number>();
  let stop: Stop | undefined;
  let tick = 0;
  const onTick = (): void => {
    tick += 1;
    const due: string[] = [];
    // In the order of the removals.
    for (const [channel, from] of since) {
      if (tick - from <= 2) break;
      since.delete(channel);
      due.push(channel);
    }
    if (since.size === 0) {
      stop?.();
      stop = undefined;
    }
    if (due.length > 0) unsubscribe(due);
  };
  return {
    add: (channel: string): void => {
      since.delete(channel);
      since.set(channel, tick);
      stop ??= every(LINGER_MS / 2, onTick);
    },
    cancel: (channel: string): void => void since.delete(channel),
    stop: (): void => stop?.(),
  };
};

/** Rejects when the connection breaks. */
const newLink = (): PromiseWithResolvers<never> => {
  const link = Promise.withResolvers<never>();
  link.promise.catch(() => {});
  return link;
};
