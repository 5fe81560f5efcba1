import { createHash } from 'node:crypto';
import type { Clock } from '@muster/kit/clock';
import type { Logger } from '@muster/kit/logger';
import type { RedisConnections } from '@muster/kit/redis/connection';

/** Since when the fleet has known its signing keys. */
export interface KeyAges {
  /** These are the keys now, the signing one first. */
  track(secrets: readonly string[]): void;
  /** Age in seconds by place in the list; undefined while Redis could not be asked. */
  ages(): readonly (number | undefined)[];
}

/** A year: long after every key should have been replaced. */
const KEPT_S = 31_536_000;

/** The first replica that uses a key notes the time in Redis, under a fingerprint that tells nothing of the key. */
export const createKeyAges = ({
  redis,
  clock,
  log,
}: {
  readonly redis: RedisConnections;
  readonly clock: Clock;
  readonly log: Logger;
}): KeyAges => {
  let keys: string[] = [];
  const firstSeen = new Map<string, number>();

  const sight = async (key: string): Promise<void> => {
    const now = String(clock.now());
    const known = await redis.retry(async (lane) => {
      await lane.set(key, now, 'EX', KEPT_S, 'NX');
      return lane.get(key);
    });
    firstSeen.set(key, Number(known ?? now));
  };
  const sightAll = (): void => {
    for (const key of keys) {
      if (firstSeen.has(key)) continue;
      sight(key).catch((error: unknown) => log.debug({ error }, 'session.signing_key_record_failed'));
    }
  };
  return {
    track: (secrets) => {
      keys = secrets.map((secret) => `${redis.prefix}key:${fingerprint(secret)}`);
      sightAll();
    },
    ages: () => {
      sightAll(); // What Redis could not tell before.
      return keys.map((key) => {
        const seen = firstSeen.get(key);
        return seen === undefined ? undefined : Math.max(0, (clock.now() - seen) / 1000);
      });
    },
  };
};

const fingerprint = (secret: string): string =>
  createHash('sha256')
    .update('muster/session/key-sighting\0')
    .update(secret)
    .digest('base64url')
    .slice(0, 16);
