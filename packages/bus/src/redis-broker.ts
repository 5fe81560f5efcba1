import { randomUUID } from 'node:crypto';
import type { Logger } from '@muster/kit/logger';
import type { Metrics } from '@muster/kit/metrics';
import type { RedisConnections } from '@muster/kit/redis/connection';
import type { Redis } from 'ioredis';
import type { Bus, BusHandlers } from './bus.ts';
import { createControlChannel } from './control-channel.ts';
import { decodeMessage, encodeMessage } from './envelope.ts';
import { createEpochs } from './epochs.ts';
import type { GroupKey } from './group-key.ts';
import { createLoopbackProbe, type LoopbackProbe } from './loopback-probe.ts';
import { pinnedConnection } from './pinned-connection.ts';
import { createAppendQueue } from './redis-appends.ts';
import { groupKeys } from './redis-keys.ts';
import { PUBLISH_ONCE, runScript } from './redis-scripts.ts';
import { createShardedSubscriber } from './redis-sharded-subscriber.ts';
import { createRedisStreams } from './redis-streams.ts';
import { createSubscriber, type Subscriber, type SubscriberHandlers } from './redis-subscriber.ts';
import { IDEMPOTENCY_TTL_MS } from './streams.ts';
import { WriteFault } from './write-fault.ts';

export interface RedisBusDeps {
  readonly redis: RedisConnections;
  readonly log: Logger;
  readonly metrics: Metrics;
}

/** Bus over Redis pub/sub: a dedicated subscriber connection, and a pinned connection of the pool for publishing. */
export const createRedisBus = ({ redis, log, metrics }: RedisBusDeps, handlers: BusHandlers): Bus => {
  const traffic = metrics.counter('gateway_bus_messages_total');
  const sent = traffic.with({ direction: 'out' });
  const received = traffic.with({ direction: 'in' });
  const unreadable = traffic.with({ direction: 'unreadable' });
  const groups = new Map<string, GroupKey>();
  const publisher = pinnedConnection(redis);
  const newEpoch = createEpochs();
  const streams = createRedisStreams(redis, newEpoch);
  const appends = createAppendQueue({ redis, appender: publisher, newEpoch, onAppended: (count) => sent.inc(count) });

  const control = createControlChannel({
    publisher: () => redis.lane(),
    channels: redis.channels,
    prefix: redis.prefix,
    log,
    onQuery: async (query) => handlers.onQuery?.(query),
  });
  const subscriber = openSubscriber(
    { redis, log, metrics },
    {
      log,
      onLost: () => handlers.onLost?.(),
      onReconnected: createReconnectHandler(redis, handlers),
      onMessage: (channel, bytes) => {
        const group = groups.get(channel);
        if (group === undefined) {
          if (control.names.includes(channel)) control.onMessage(channel, bytes);
          return;
        }
        const message = decodeMessage(bytes);
        if (message === undefined) return unreadable.inc();
        received.inc();
        handlers.onMessage(group, message);
      },
      onUnsubscribed: (channel) => void groups.delete(channel),
    },
  );
  for (const name of control.names) subscriber.keep(name);

  return {
    ...streams,
    query: control.query,
    append: appends.append,
    publish: async (group, message, idempotencyKey) => {
      const { channel, unkeptResult } = groupKeys(redis.prefix, group);
      const bytes = encodeMessage(message);
      appends.flush(group);
      try {
        if (idempotencyKey === undefined) await redis.channels.publish(publisher(), channel, bytes);
        else {
          const args = [IDEMPOTENCY_TTL_MS, redis.channels.publishCommand, channel, bytes];
          await runScript(publisher(), PUBLISH_ONCE, [`${unkeptResult}${idempotencyKey}`], args);
        }
        sent.inc();
      } catch (cause) {
        throw new WriteFault(cause);
      }
    },
    subscribe: (group) => {
      const { channel } = groupKeys(redis.prefix, group);
      const isNew = !groups.has(channel);
      groups.set(channel, group);
      const subscribed = subscriber.add(channel);
      if (isNew) subscribed.catch(() => groups.delete(channel));
      return subscribed;
    },
    unsubscribe: (group) => subscriber.remove(groupKeys(redis.prefix, group).channel),
    isUp: () => subscriber.isUp(),
    fault: () => subscriber.fault(),
    subscriptions: () => subscriber.size() - control.names.filter(subscriber.has).length,
    [Symbol.asyncDispose]: async () => {
      subscriber.close();
    },
  };
};

/** Opens one subscriber connection, or on a cluster one per node; each has a loopback probe. */
const openSubscriber = (
  { redis, log, metrics }: RedisBusDeps,
  handlers: SubscriberHandlers,
): Subscriber & Pick<Bus, 'fault'> => {
  const { channels, shards } = redis;
  const newProbeChannel = () => `${redis.prefix}canary:${randomUUID()}`;
  const probes = new Set<LoopbackProbe>();
  const watch = (link: Redis, pickChannel: () => string | undefined): Disposable => {
    const probe = createLoopbackProbe({
      ...{ subscriber: link, channels, pickChannel, log, metrics },
      publisher: () => redis.lane(),
    });
    probes.add(probe);
    return {
      [Symbol.dispose]: () => {
        probes.delete(probe);
        probe[Symbol.dispose]();
      },
    };
  };
  const fault = (): Error | undefined => {
    for (const probe of probes) if (probe.fault() !== undefined) return probe.fault();
    return undefined;
  };

  if (shards !== undefined) {
    const watchNode = (link: Redis, node: string) =>
      watch(link, () => firstOf(MAX_PICKS, newProbeChannel, (name) => shards.ownerOf(name) === node));
    return { ...createShardedSubscriber({ ...handlers, shards, channels, watch: watchNode }), fault };
  }
  const link = redis.dedicated('bus');
  // The subscriber subscribes again itself and awaits the answer; the attempt of ioredis would be an unhandled rejection
  // when it fails.
  link.options.autoResubscribe = false;
  const subscriber = createSubscriber(link, channels, handlers);
  const probe = watch(link, newProbeChannel);
  return {
    ...subscriber,
    fault,
    close: () => {
      probe[Symbol.dispose]();
      subscriber.close();
    },
  };
};

/** Random names that are tried to find a channel whose slot is on a given node. */
const MAX_PICKS = 5_000;

const firstOf = (tries: number, make: () => string, fits: (name: string) => boolean): string | undefined => {
  for (let count = 0; count < tries; count += 1) {
    const name = make();
    if (fits(name)) return name;
  }
  return undefined;
};

/** Calls `onReconnected`, with true when the servers are those of the connection before. */
const createReconnectHandler = (redis: RedisConnections, handlers: BusHandlers): (() => void) => {
  let known: ReadonlySet<string> | undefined;
  const servers = async (): Promise<ReadonlySet<string> | undefined> => {
    try {
      return new Set(await redis.servers());
    } catch {
      return undefined; // Unknown servers count as replaced.
    }
  };
  void servers().then((first) => {
    known ??= first;
  });
  return () => {
    const before = known;
    void servers().then((now) => {
      known = now;
      const isKnown = (server: string) => before?.has(server) === true;
      handlers.onReconnected(now !== undefined && [...now].every(isKnown));
    });
  };
};
