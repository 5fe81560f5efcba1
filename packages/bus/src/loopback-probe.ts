import { every, TimeoutError } from '@muster/kit/clock';
import { createFaultLog } from '@muster/kit/fault-log';
import type { Logger } from '@muster/kit/logger';
import type { Metrics } from '@muster/kit/metrics';
import type { RedisChannels, RedisLink } from '@muster/kit/redis/channels';
import type { Redis } from 'ioredis';

export interface LoopbackProbeDeps {
  /** The subscribed connection, which is probed. */
  readonly subscriber: Redis;
  /** The connection to publish on, which must be another connection. */
  readonly publisher: () => RedisLink;
  readonly channels: RedisChannels;
  /** A private channel that this connection can subscribe to; undefined when it has none at present. */
  pickChannel(): string | undefined;
  readonly log: Logger;
  readonly metrics: Metrics;
}

/** Liveness check of one subscribed connection. */
export interface LoopbackProbe extends Disposable {
  /** The last fault; undefined while messages are received, and on a new connection. */
  fault(): Error | undefined;
}

/** Interval of the messages. */
const INTERVAL_MS = 500;
/** Messages that Redis accepted and that were not received, after which the connection is replaced. */
const MAX_MISSED = 4;

/**
 * Publishes a message to this process every 500 ms. When Redis accepts messages that are not received, the connection is
 * half-open or attached to a demoted server: it is destroyed, and ioredis connects again.
 */
export const createLoopbackProbe = (deps: LoopbackProbeDeps): LoopbackProbe => {
  const { subscriber, publisher, channels, log, metrics } = deps;
  const roundtrip = metrics.histogram('gateway_bus_roundtrip_seconds').with({});
  const lastReceived = metrics.gauge('gateway_bus_canary_last_success_timestamp_seconds').with({});
  const outage = createFaultLog(log, { event: 'bus.unreachable', overEvent: 'bus.reachable' });
  let channel: string | undefined;
  let missed = 0;
  let fault: Error | undefined;

  const onMessage = (from: Buffer, sentAt: Buffer): void => {
    if (from.toString() !== channel) return;
    missed = 0;
    fault = undefined;
    outage.recovered();
    const seconds = (performance.now() - Number(sentAt.toString('latin1'))) / 1000;
    if (seconds >= 0) roundtrip.observe(seconds);
    lastReceived.set(Date.now() / 1000);
  };
  const recordFault = (error: unknown): void => {
    if (error instanceof Error && !error.message.startsWith('MOVED ')) fault = error;
  };
  const start = (): void => {
    missed = 0;
    channel = deps.pickChannel();
    if (channel !== undefined) channels.subscribe(subscriber, [channel]).catch(recordFault);
  };
  const probe = async (): Promise<void> => {
    if (subscriber.status !== 'ready') return;
    if (channel === undefined) start();
    if (channel === undefined) return;
    if (missed >= MAX_MISSED) {
      missed = 0;
      fault = new TimeoutError('published messages do not arrive');
      outage.failed();
      // A graceful close would wait for a peer that does not answer.
      subscriber.stream?.destroy();
      return;
    }
    try {
      await channels.publish(publisher(), channel, String(performance.now()));
      missed += 1;
    } catch (error) {
      recordFault(error);
    }
  };
  // The slot of the channel may have left the node: another channel is picked once the slots are known.
  const onMoved = (): void => {
    channel = undefined;
  };
  subscriber.on(channels.event, onMessage).on('ready', start).on('moved', onMoved);
  if (subscriber.status === 'ready') start();
  const stop = every(INTERVAL_MS, () => void probe());
  return {
    fault: () => fault,
    [Symbol.dispose]: () => {
      stop();
      subscriber.off(channels.event, onMessage).off('ready', start).off('moved', onMoved);
    },
  };
};
