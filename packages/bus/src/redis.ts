import { randomUUID } from 'node:crypto';
import type { Logger } from '@muster/kit/logger';
import type { Metrics } from '@muster/kit/metrics';
import type { RedisConnections } from '@muster/kit/redis';
import { AppError } from '@muster/protocol/errors';
import type { GroupName } from '@muster/protocol/ids';
import type { Bus, BusHandlers } from './bus.ts';
import { createCanary } from './canary.ts';
import { createControl } from './control.ts';
import { decodeMessage, encodeMessage } from './envelope.ts';
import { groupKeys } from './keys.ts';
import { createRedisStreams } from './redis-streams.ts';
import { stickyLane } from './sticky-lane.ts';
import { createSubscriber, type Subscriber } from './subscriber.ts';

export interface RedisBusDeps {
  readonly redis: RedisConnections;
  readonly log: Logger;
  readonly metrics: Metrics;
}

/** A bus over Redis pub/sub: one connection that only listens, and one of the command lanes to publish on. */
export const createRedisBus = ({ redis, log, metrics }: RedisBusDeps, handlers: BusHandlers): Bus => {
  const traffic = metrics.counter('gateway_bus_messages_total');
  const sent = traffic.with({ direction: 'out' });
  const heard = traffic.with({ direction: 'in' });
  const strange = traffic.with({ direction: 'unreadable' });
  const groups = new Map<string, GroupName>();
  const publisher = stickyLane(redis);
  const streams = createRedisStreams(redis, publisher);

  const link = redis.dedicated('bus');
  // Everything here subscribes by itself after a reconnect, and waits for the answer; the library's own attempt would be
  // one more, whose failure nobody could catch.
  link.options.autoResubscribe = false;
  const subscriber: Subscriber = createSubscriber(link, {
    log,
    onReconnected: handlers.onReconnected,
    onMessage: (channel, bytes) => {
      const group = groups.get(channel);
      if (group === undefined) return;
      const message = decodeMessage(bytes);
      if (message === undefined) return strange.inc();
      heard.inc();
      handlers.onMessage(group, message);
    },
    onForgotten: (channel) => void groups.delete(channel),
  });

  const channel = `${redis.prefix}canary:${randomUUID()}`;
  const canary = createCanary({ subscriber: link, publisher: () => redis.lane(), channel, log, metrics });

  const control = createControl({
    subscriber: link,
    publisher: () => redis.lane(),
    prefix: redis.prefix,
    log,
    onAsk: async (question) => handlers.onAsk?.(question),
  });

  return {
    ...streams,
    ask: control.ask,
    append: async (group, draft, options) => {
      const appended = await streams.append(group, draft, options);
      sent.inc();
      return appended;
    },
    publish: async (group, message) => {
      const { channel } = groupKeys(redis.prefix, group);
      try {
        await publisher().publish(channel, encodeMessage(message));
        sent.inc();
      } catch (cause) {
        throw new AppError('REDIS_UNAVAILABLE', { cause });
      }
    },
    subscribe: (group) => {
      const { channel } = groupKeys(redis.prefix, group);
      groups.set(channel, group);
      return subscriber.add(channel);
    },
    unsubscribe: (group) => subscriber.remove(groupKeys(redis.prefix, group).channel),
    isUp: () => subscriber.isUp(),
    subscriptions: () => subscriber.size(),
    [Symbol.asyncDispose]: async () => {
      canary[Symbol.dispose]();
      control[Symbol.dispose]();
      subscriber.close();
    },
  };
};
