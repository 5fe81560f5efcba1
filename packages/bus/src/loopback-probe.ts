import { every, TimeoutError } from '@muster/kit/clock';
import { createFaultLog } from '@muster/kit/fault-log';
import type { Logger } from '@muster/kit/logger';
import type { Metrics } from '@muster/kit/metrics';
import type { RedisChannels, RedisLink } from '@muster/kit/redis/channels';
import type { Redis } from 'ioredis';

export interface LoopbackProbeDeps {
  /** The connection that listens. */
  readonly subscriber: Redis;
  /** A connection to publish on; not the one that listens. */
  readonly publisher: () => RedisLink;
  readonly channels: RedisChannels;
  /** A channel that nobody else uses and that this connection can hear; undefined when there is none now. */
  pickChannel(): string | undefined;
  readonly log: Logger;
  readonly metrics: Metrics;
}

/** Watches over one connection. */
export interface LoopbackProbe extends Disposable {
  /** Why nothing is heard over it; undefined while the probe is heard, or the connection is new. */
  fault(): Error | undefined;
}

/** Time between two songs. */
const SING_MS = 500;
/** Songs that were taken by Redis and not heard before the link counts as deaf. */
const MISSED = 4;

/**
 * Sends a word to ourselves through Redis, again and again. When Redis takes it and we do not hear it, the link is deaf
 * (half-open, or attached to a server that has been demoted): it is cut, and comes back subscribed.
 */
export const createLoopbackProbe = (deps: LoopbackProbeDeps): LoopbackProbe => {
  const { subscriber, publisher, channels, log, metrics } = deps;
  const roundtrip = metrics.histogram('gateway_bus_roundtrip_seconds').with({});
  const lastHeard = metrics.gauge('gateway_bus_canary_last_success_timestamp_seconds').with({});
  const deafness = createFaultLog(log, { event: 'bus.unreachable', overEvent: 'bus.reachable' });
  let channel: string | undefined;
  let missed = 0;
  let fault: Error | undefined;

  const onMessage = (from: Buffer, song: Buffer): void => {
    if (from.toString() !== channel) return;
    missed = 0;
    fault = undefined;
    deafness.recovered();
    const seconds = (performance.now() - Number(song.toString('latin1'))) / 1000;
    if (seconds >= 0) roundtrip.observe(seconds);
    lastHeard.set(Date.now() / 1000);
  };
  const failed = (error: unknown): void => {
    if (error instanceof Error && !error.message.startsWith('MOVED ')) fault = error;
  };
  const begin = (): void => {
    missed = 0;
    channel = deps.pickChannel();
    if (channel !== undefined) channels.subscribe(subscriber, [channel]).catch(failed);
  };
  const sing = async (): Promise<void> => {
    if (subscriber.status !== 'ready') return;
    if (channel === undefined) begin();
    if (channel === undefined) return;
    if (missed >= MISSED) {
      missed = 0;
      fault = new TimeoutError('published messages do not arrive');
      deafness.failed();
      // A polite end would wait for a peer that does not answer.
      subscriber.stream?.destroy();
      return;
    }
    try {
      await channels.publish(publisher(), channel, String(performance.now()));
      missed += 1;
    } catch (error) {
      failed(error);
    }
  };
  // Its slot may have left the node; where the slots are now is known a moment later.
  const onMoved = (): void => {
    channel = undefined;
  };
  subscriber.on(channels.event, onMessage).on('ready', begin).on('moved', onMoved);
  if (subscriber.status === 'ready') begin();
  const stop = every(SING_MS, () => void sing());
  return {
    fault: () => fault,
    [Symbol.dispose]: () => {
      stop();
      subscriber.off(channels.event, onMessage).off('ready', begin).off('moved', onMoved);
    },
  };
};
