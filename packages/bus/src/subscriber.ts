import { every, TimeoutError, within } from '@muster/kit/clock';
import type { Logger } from '@muster/kit/logger';
import { AppError } from '@muster/protocol/errors';
import type { Redis } from 'ioredis';

export interface SubscriberHandlers {
  readonly log: Logger;
  onMessage(channel: string, bytes: Buffer): void;
  onReconnected(): void;
  /** The channel is subscribed no more and was not asked for again. */
  onForgotten(channel: string): void;
}

/** The set of Redis channels this process listens to, kept through reconnects. */
export interface Subscriber {
  /** Resolves when the channel is listened to; throws REDIS_UNAVAILABLE when the link is down. */
  add(channel: string): Promise<void>;
  remove(channel: string): void;
  isUp(): boolean;
  size(): number;
  close(): void;
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
export const createSubscriber = (redis: Redis, handlers: SubscriberHandlers): Subscriber => {
  const wanted = new Set<string>();
  const queued = new Map<string, PromiseWithResolvers<void>>();
  const listening = createListening(redis);
  let everReady = false;

  const flush = async (): Promise<void> => {
    const batch = new Map(queued);
    queued.clear();
    try {
      await listening.start([...batch.keys()]);
      for (const waiting of batch.values()) waiting.resolve();
    } catch (cause) {
      for (const [channel, waiting] of batch) {
        wanted.delete(channel);
        waiting.reject(new AppError('REDIS_UNAVAILABLE', { cause }));
      }
    }
  };
  const onReady = async (): Promise<void> => {
    try {
      await listening.start([...wanted]);
      if (everReady) handlers.onReconnected();
      everReady = true;
    } catch (error) {
      handlers.log.warn({ error }, 'bus.subscribe_failed');
      // Never stay connected and deaf.
      redis.disconnect(true);
    }
  };
  const leaving = createLingering((channels) => {
    for (const channel of channels) {
      wanted.delete(channel);
      handlers.onForgotten(channel);
    }
    listening.stop(channels);
  });
  const onReadyEvent = () => void onReady();
  const onMessage = (channel: Buffer, bytes: Buffer) => handlers.onMessage(channel.toString('utf8'), bytes);

  redis.on('ready', onReadyEvent).on('messageBuffer', onMessage);
  if (redis.status === 'ready') onReadyEvent();

  return {
    add: async (channel) => {
      leaving.cancel(channel);
      if (redis.status !== 'ready') throw new AppError('REDIS_UNAVAILABLE');
      if (listening.has(channel)) return;
      wanted.add(channel);
      const known = queued.get(channel);
      if (known) return known.promise;
      if (queued.size === 0) setImmediate(() => void flush());
      const waiting = Promise.withResolvers<void>();
      queued.set(channel, waiting);
      return waiting.promise;
    },
    remove: (channel) => leaving.add(channel),
    isUp: () => redis.status === 'ready',
    size: () => listening.size(),
    close: () => {
      leaving.stop();
      listening.close();
      redis.off('ready', onReadyEvent).off('messageBuffer', onMessage);
      redis.disconnect();
    },
  };
};

/** What Redis has confirmed on the present link. */
const createListening = (redis: Redis) => {
  const active = new Set<string>();
  let link = newLink();
  const onClose = () => {
    active.clear();
    link.reject(new Error('the connection was lost'));
    link = newLink();
  };
  redis.on('close', onClose);
  return {
    has: (channel: string): boolean => active.has(channel),
    size: (): number => active.size,
    /** Resolves when all are subscribed. Gives the link up when it does not answer in time. */
    start: async (channels: readonly string[]): Promise<void> => {
      for (const batch of batches(channels)) {
        // ioredis never settles what was under way on a connection that broke.
        const answer = Promise.race([redis.subscribe(...batch), link.promise]);
        try {
          await within(SUBSCRIBE_TIMEOUT_MS, 'subscribe', answer);
        } catch (error) {
          if (error instanceof TimeoutError) redis.disconnect(true);
          throw error;
        }
        for (const channel of batch) active.add(channel);
      }
    },
    stop: (channels: readonly string[]): void => {
      for (const channel of channels) active.delete(channel);
      if (redis.status !== 'ready') return;
      // A link lost meanwhile has unsubscribed them too.
      for (const batch of batches(channels)) redis.unsubscribe(...batch).catch(() => {});
    },
    close: () => void redis.off('close', onClose),
  };
};

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
