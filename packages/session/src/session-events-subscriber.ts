import { type Clock, every } from '@muster/kit/clock';
import { createFaultLog } from '@muster/kit/fault-log';
import type { Logger } from '@muster/kit/logger';
import type { Metrics } from '@muster/kit/metrics';
import type { RedisConnections } from '@muster/kit/redis/connection';
import { type ChangeLog, ChangeLogFollower } from './change-log-follower.ts';
import {
  busKeys,
  CHANGE_LOG_LENGTH,
  parseBusMessage,
  type SessionBusMessage,
  type SessionChange,
} from './session-events.ts';
import type { SessionId } from './token.ts';

/** Dependencies and handlers of a subscriber. Handlers must be idempotent: a change may arrive twice. */
export interface SessionEventsSubscriberDeps {
  readonly redis: RedisConnections;
  readonly clock: Clock;
  readonly log: Logger;
  readonly metrics: Metrics;
  onEnded(id: SessionId, why: string): void;
  /** The secret or the contents of sessions changed. */
  onChanged?(change: Exclude<SessionChange, { k: 'end' }>): void;
  /** The change log no longer contains a gap: every local session must be checked again. */
  onLost(): void;
}

/** Receives every change of every session, also when messages are lost. */
export interface SessionEventsSubscriber extends AsyncDisposable {
  /** True while subscribed, without a gap, and with a heartbeat in the last 3 s. */
  healthy(): boolean;
}

/** Time without heartbeats after which the bus is unhealthy, in ms: three heartbeats. */
export const BUS_SILENCE_MS = 3000;

const PAGE = 1000;

/** Subscribes to the change channel on a dedicated connection and follows the change log. */
export const createSessionEventsSubscriber = (deps: SessionEventsSubscriberDeps): SessionEventsSubscriber => {
  const { redis, clock, log } = deps;
  const silence = createFaultLog(log, { event: 'session.bus_silent', overEvent: 'session.bus_reachable' });
  const subscribing = createFaultLog(log, {
    event: 'session.bus_subscribe_failed',
    overEvent: 'session.bus_subscribed',
  });
  const { channel } = busKeys(redis.prefix);
  const follower = createFollower(deps);
  const count = countMessages(deps.metrics);
  const { channels } = redis;
  const subscriber = redis.dedicated('session-events', channel);
  // The handler of `ready` subscribes; a failure of the library's own attempt could not be caught.
  subscriber.options.autoResubscribe = false;
  let receivedAt = Number.NEGATIVE_INFINITY;
  let subscribed = false;

  const onMessage = (from: Buffer, text: Buffer): void => {
    if (from.toString() !== channel) return;
    const message = parseBusMessage(text.toString());
    count(message);
    if (message?.content.is === 'heartbeat') {
      receivedAt = clock.monotonic();
      silence.recovered();
    }
    if (message) follower.onMessage(message);
  };
  const subscribe = async (): Promise<void> => {
    try {
      await channels.subscribe(subscriber, [channel]);
      subscribed = true;
      subscribing.recovered();
      receivedAt = clock.monotonic();
      await follower.repair();
    } catch (error) {
      subscribing.failed({ error });
      // Never stay connected without a subscription.
      if (!subscribed && subscriber.status === 'ready') subscriber.disconnect(true);
    }
  };
  const unsubscribed = (): void => {
    subscribed = false;
  };
  const onReady = (): void => void subscribe();

  // On a cluster the channel may move to another node; a reconnect follows it.
  const onMoved = (): void => subscriber.disconnect(true);
  subscriber.on(channels.event, onMessage);
  subscriber.on('moved', onMoved);
  subscriber.on('ready', onReady);
  subscriber.on('close', unsubscribed);
  if (subscriber.status === 'ready') onReady();

  const stopWatching = every(BUS_SILENCE_MS / 3, () => {
    if (!subscribed || clock.monotonic() - receivedAt <= BUS_SILENCE_MS) return;
    // Three heartbeats are missing on an open connection.
    silence.failed({
      detail: 'no heartbeat in 3 s: no session service publishes, or this Redis connection receives nothing',
    });
    receivedAt = clock.monotonic();
    subscriber.disconnect(true);
  });

  return {
    healthy: () => subscribed && follower.isCurrent && clock.monotonic() - receivedAt <= BUS_SILENCE_MS,
    [Symbol.asyncDispose]: async () => {
      stopWatching();
      subscriber.off(channels.event, onMessage);
      subscriber.off('moved', onMoved);
      subscriber.off('ready', onReady);
      subscriber.off('close', unsubscribed);
      subscriber.disconnect();
    },
  };
};

const createFollower = (deps: SessionEventsSubscriberDeps): ChangeLogFollower => {
  const gaps = deps.metrics.counter('session_bus_gaps_total');
  const reading = createFaultLog(deps.log, {
    event: 'session.bus_catch_up_failed',
    overEvent: 'session.bus_caught_up',
  });
  return new ChangeLogFollower(changeLog(deps.redis), {
    onChange: (change) => {
      if (change.k === 'end') for (const id of change.ids) deps.onEnded(id, change.why);
      else deps.onChanged?.(change);
    },
    onRepaired: () => {
      reading.recovered();
      gaps.inc({ outcome: 'repaired' });
    },
    onLost: (why) => {
      reading.recovered();
      gaps.inc({ outcome: 'lost' });
      deps.log.warn({ why }, 'session.bus_lost');
      deps.onLost();
    },
    onFault: (error) => {
      gaps.inc({ outcome: 'failed' });
      reading.failed({ error });
    },
  });
};

const changeLog = (redis: RedisConnections): ChangeLog => {
  const keys = busKeys(redis.prefix);
  return {
    top: async () => (await redis.retry((lane) => lane.xrevrange(keys.log, '+', '-', 'COUNT', 1)))[0]?.[0] ?? '0-0',
    epoch: async () => (await redis.retry((lane) => lane.get(keys.epoch))) ?? undefined,
    range: async (from) => {
      const entries = await redis.retry((lane) => lane.xrange(keys.log, from, '+', 'COUNT', PAGE));
      return entries.map(([id, fields]) => ({ id, payload: fields[1] ?? '' }));
    },
    isWhole: async () => (await redis.retry((lane) => lane.xlen(keys.log))) < CHANGE_LOG_LENGTH,
  };
};

const countMessages = (metrics: Metrics): ((message: SessionBusMessage | undefined) => void) => {
  const received = metrics.counter('session_bus_messages_total');
  return (message) => {
    const says = message?.content;
    received.inc({ kind: says ? (says.is === 'change' ? says.change.k : says.is) : 'malformed' });
  };
};
