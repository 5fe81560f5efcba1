import { every } from '@muster/kit/clock';
import type { Logger } from '@muster/kit/logger';
import type { Metrics } from '@muster/kit/metrics';
import type { Redis } from 'ioredis';

export interface CanaryDeps {
  /** The connection that listens. */
  readonly subscriber: Redis;
  /** A connection to publish on; not the one that listens. */
  readonly publisher: () => Redis;
  /** A channel that nobody else uses. */
  readonly channel: string;
  readonly log: Logger;
  readonly metrics: Metrics;
}

/** Time between two songs. */
const SING_MS = 500;
/** Songs that were taken by Redis and not heard before the link counts as deaf. */
const MISSED = 4;

/**
 * Sends a word to ourselves through Redis, again and again. When Redis takes it and we do not hear it, the link is deaf
 * (half-open, or attached to a server that has been demoted): it is cut, and comes back subscribed.
 */
export const createCanary = ({ subscriber, publisher, channel, log, metrics }: CanaryDeps): Disposable => {
  const roundtrip = metrics.histogram('gateway_bus_roundtrip_seconds').with({});
  const lastHeard = metrics.gauge('gateway_bus_canary_last_success_timestamp_seconds').with({});
  const channelBytes = Buffer.from(channel);
  let missed = 0;

  const onMessage = (from: Buffer, song: Buffer): void => {
    if (!from.equals(channelBytes)) return;
    missed = 0;
    const seconds = (performance.now() - Number(song.toString('latin1'))) / 1000;
    if (seconds >= 0) roundtrip.observe(seconds);
    lastHeard.set(Date.now() / 1000);
  };
  const sing = async (): Promise<void> => {
    if (subscriber.status !== 'ready') return;
    if (missed >= MISSED) {
      missed = 0;
      log.warn({}, 'bus.deaf');
      // A polite end would wait for a peer that does not answer.
      subscriber.stream?.destroy();
      return;
    }
    try {
      await publisher().publish(channel, String(performance.now()));
      missed += 1;
    } catch {
      // Redis itself is away: that is seen elsewhere.
    }
  };
  const onReady = (): void => {
    missed = 0;
    subscriber.subscribe(channel).catch(() => {});
  };
  subscriber.on('messageBuffer', onMessage).on('ready', onReady);
  if (subscriber.status === 'ready') onReady();
  const stop = every(SING_MS, () => void sing());
  return {
    [Symbol.dispose]: () => {
      stop();
      subscriber.off('messageBuffer', onMessage).off('ready', onReady);
    },
  };
};
