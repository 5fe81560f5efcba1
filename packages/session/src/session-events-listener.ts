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

/** What a listener needs, and whom it tells. Handlers may hear a change twice and must not mind. */
export interface SessionListenerDeps {
  readonly redis: RedisConnections;
  readonly clock: Clock;
  readonly log: Logger;
  readonly metrics: Metrics;
  onEnded(id: SessionId, why: string): void;
  /** The secret or the contents of sessions changed. */
  onChanged?(change: Exclude<SessionChange, { k: 'end' }>): void;
  /** Changes were missed that the stream no longer holds: check every local session again. */
  onLost(): void;
}

/** Hears every change of every session, in spite of lost messages. */
export interface SessionListener extends AsyncDisposable {
  /** Subscribed, caught up, and a heartbeat came within the last 3 s. */
  healthy(): boolean;
}

/** Silence of the bus after which it is not trusted, in ms: three heartbeats. */
export const BUS_SILENCE_MS = 3000;

const PAGE = 1000;

/** Subscribes to the change channel on a connection of its own and follows the stream behind it. */
export const createSessionListener = (deps: SessionListenerDeps): SessionListener => {
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
  // `ready` subscribes below; the library's own attempt would be one more, whose failure nobody could catch.
  subscriber.options.autoResubscribe = false;
  let heardAt = Number.NEGATIVE_INFINITY;
  let subscribed = false;

  const onMessage = (from: Buffer, text: Buffer): void => {
    if (from.toString() !== channel) return;
    const message = parseBusMessage(text.toString());
    count(message);
    if (message?.says.is === 'heartbeat') {
      heardAt = clock.monotonic();
      silence.recovered();
    }
    if (message) follower.hear(message);
  };
  const subscribe = async (): Promise<void> => {
    try {
      await channels.subscribe(subscriber, [channel]);
      subscribed = true;
      subscribing.recovered();
      heardAt = clock.monotonic();
      await follower.catchUp();
    } catch (error) {
      subscribing.failed({ error });
      // Never stay connected and deaf.
      if (!subscribed && subscriber.status === 'ready') subscriber.disconnect(true);
    }
  };
  const unsubscribed = (): void => {
    subscribed = false;
  };
  const onReady = (): void => void subscribe();

  // On a cluster the channel may go to another node; then we go after it.
  const onMoved = (): void => subscriber.disconnect(true);
  subscriber.on(channels.event, onMessage);
  subscriber.on('moved', onMoved);
  subscriber.on('ready', onReady);
  subscriber.on('close', unsubscribed);
  if (subscriber.status === 'ready') onReady();

  const stopWatching = every(BUS_SILENCE_MS / 3, () => {
    if (!subscribed || clock.monotonic() - heardAt <= BUS_SILENCE_MS) return;
    // Three heartbeats missed on a link that looks open: either nobody beats, or the link is deaf.
    silence.failed({ detail: 'no session service beats, or this connection to Redis is deaf' });
    heardAt = clock.monotonic();
    subscriber.disconnect(true);
  });

  return {
    healthy: () => subscribed && follower.isCurrent && clock.monotonic() - heardAt <= BUS_SILENCE_MS,
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

const createFollower = (deps: SessionListenerDeps): ChangeLogFollower => {
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
    top: async () =>
      (await redis.retry((lane) => lane.xrevrange(keys.log, '+', '-', 'COUNT', 1)))[0]?.[0] ?? '0-0',
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
    const says = message?.says;
    received.inc({ kind: says ? (says.is === 'change' ? says.change.k : says.is) : 'malformed' });
  };
};
