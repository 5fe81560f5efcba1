import { createHash } from 'node:crypto';
import type { Clock } from '@muster/kit/clock';
import type { Logger } from '@muster/kit/logger';
import type { Metrics } from '@muster/kit/metrics';
import type { RedisConnections } from '@muster/kit/redis/connection';

interface KeyAgeDeps {
  readonly redis: RedisConnections;
  readonly clock: Clock;
  readonly log: Logger;
  readonly metrics: Metrics;
}

/** One year in seconds, longer than any key should be in use. */
const KEPT_S = 31_536_000;

/**
 * Reports the ages of the first two signing keys at each scrape. The first replica that uses a key stores the time
 * in Redis under a fingerprint of the key; the age is unknown until Redis has answered. Returns the function that
 * sets the keys to report.
 */
export const reportKeyAges = ({ redis, clock, log, metrics }: KeyAgeDeps) => {
  const gauge = metrics.gauge('session_signing_key_age_seconds');
  const firstUsedAt = new Map<string, number>();
  let keys: string[] = [];

  const read = async (key: string): Promise<void> => {
    const now = String(clock.now());
    const stored = await redis.retry(async (lane) => {
      await lane.set(key, now, 'EX', KEPT_S, 'NX');
      return lane.get(key);
    });
    firstUsedAt.set(key, Number(stored ?? now));
  };
  const readMissing = (): void => {
    for (const key of keys) {
      if (firstUsedAt.has(key)) continue;
      read(key).catch((error: unknown) => log.debug({ error }, 'session.signing_key_record_failed'));
    }
  };
  const report = (label: 'active' | 'previous', key: string | undefined): void => {
    const since = key === undefined ? undefined : firstUsedAt.get(key);
    if (since !== undefined) gauge.set({ key: label }, Math.max(0, (clock.now() - since) / 1000));
  };
  metrics.onCollect(() => {
    readMissing();
    gauge.reset();
    report('active', keys[0]);
    report('previous', keys[1]);
  });
  return (secrets: readonly string[]): void => {
    keys = secrets.map((secret) => `${redis.prefix}key:${fingerprintOf(secret)}`);
    readMissing();
  };
};

const fingerprintOf = (secret: string): string =>
  createHash('sha256').update('muster/session/key-sighting\0').update(secret).digest('base64url').slice(0, 16);
