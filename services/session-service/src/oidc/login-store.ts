import { createHash } from 'node:crypto';
import type { Clock } from '@muster/kit/clock';
import type { Logger } from '@muster/kit/logger';
import type { RedisConnections } from '@muster/kit/redis/connection';
import { script } from '@muster/session/redis-script';
import type { EndedLogins, LoginAtIssuer, UsedTokens } from '../core/oidc-ports.ts';
import { orUnavailable } from '../redis-errors.ts';

interface LoginStoreDeps {
  readonly clock: Clock;
  readonly log: Logger;
  readonly redis: RedisConnections;
}

/** Most clock skew between replicas. */
const SKEW_MS = 60_000;
/** Longest lifetime of a token of an ended login: one day and the skew. */
const ENDED_MS = 86_400_000 + SKEW_MS;

// The value is the claimant, so that a command whose reply was lost can be repeated.
const CLAIM = script(`local c=redis.call('GET',KEYS[1])
if c then return c==ARGV[1] and 1 or 0 end
redis.call('SET',KEYS[1],ARGV[1],'PX',ARGV[2]); return 1`);

/** Used tokens in Redis, one key each until they expire. */
export const createUsedTokens = ({ clock, log, redis }: LoginStoreDeps): UsedTokens => {
  const keyOf = (fingerprint: string): string => `${redis.prefix}j:{${fingerprint}}`;
  return {
    claim: async ({ fingerprint, expiresAt }, claimant = crypto.randomUUID()) => {
      const ttlMs = Math.max(1, Math.ceil(Math.min(expiresAt - clock.now(), ENDED_MS) + SKEW_MS));
      return orUnavailable(
        async () => (await redis.retry((lane) => CLAIM(lane, [keyOf(fingerprint)], [claimant, ttlMs]))) === 1,
      );
    },
    release: async ({ fingerprint }) => {
      try {
        await redis.retry((lane) => lane.del(keyOf(fingerprint)));
      } catch (error) {
        log.debug({ error }, 'oidc.token_release_failed');
      }
    },
  };
};

/** Ended logins in Redis, one key each for a day. */
export const createEndedLogins = ({ redis }: LoginStoreDeps): EndedLogins => {
  const keyOf = (kind: 'sid' | 'sub', issuer: string, id: string): string =>
    `${redis.prefix}jo:{${createHash('sha256').update(`${kind}\n${issuer}\n${id}`).digest('base64url')}}`;
  const read = ({ issuer, sid, sub }: LoginAtIssuer): Promise<(string | null)[]> =>
    orUnavailable(() =>
      redis.retry((lane) =>
        Promise.all([
          sid === null ? null : lane.get(keyOf('sid', issuer, sid)),
          sub === null ? null : lane.get(keyOf('sub', issuer, sub)),
        ]),
      ),
    );
  return {
    add: async ({ issuer, sid, sub }, issuedAt) => {
      const key = sid === null ? keyOf('sub', issuer, sub ?? '') : keyOf('sid', issuer, sid);
      await orUnavailable(() => redis.retry((lane) => lane.set(key, issuedAt, 'PX', ENDED_MS)));
    },
    covers: async (login, issuedAt) => {
      const [bySession, byUser] = await read(login);
      if (bySession != null) return true;
      return byUser != null && issuedAt < Number(byUser);
    },
  };
};
