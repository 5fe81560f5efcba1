import { createHash } from 'node:crypto';
import type { Clock } from '@muster/kit/clock';
import type { Logger } from '@muster/kit/logger';
import type { RedisConnections } from '@muster/kit/redis/connection';
import { script } from '@muster/session/redis-script';
import type { LoginAtIssuer, OverLogins, UsedTokens } from '../core/oidc-ports.ts';
import { orUnavailable } from '../redis-errors.ts';

interface MarksDeps {
  readonly clock: Clock;
  readonly log: Logger;
  readonly redis: RedisConnections;
}

/** Replicas may disagree about the time by this much. */
const SKEW_MS = 60_000;
/** As long as any token of an ended login may come: a day, and the skew. */
const OVER_MS = 86_400_000 + SKEW_MS;

// The value names the taker, so that a command whose answer was lost can be sent again.
const TAKE = script(`local c=redis.call('GET',KEYS[1])
if c then return c==ARGV[1] and 1 or 0 end
redis.call('SET',KEYS[1],ARGV[1],'PX',ARGV[2]); return 1`);

/** Tokens that were used, one key each until they expire. */
export const createUsedTokens = ({ clock, log, redis }: MarksDeps): UsedTokens => {
  const keyOf = (fingerprint: string): string => `${redis.prefix}j:{${fingerprint}}`;
  return {
    take: async ({ fingerprint, expiresAt }, taker = crypto.randomUUID()) => {
      const life = Math.max(1, Math.ceil(Math.min(expiresAt - clock.now(), OVER_MS) + SKEW_MS));
      return orUnavailable(
        async () => (await redis.retry((lane) => TAKE(lane, [keyOf(fingerprint)], [taker, life]))) === 1,
      );
    },
    giveBack: async ({ fingerprint }) => {
      try {
        await redis.retry((lane) => lane.del(keyOf(fingerprint)));
      } catch (error) {
        log.debug({ error }, 'oidc.token_release_failed');
      }
    },
  };
};

/** Logins at issuers that are over, one key each for a day. */
export const createOverLogins = ({ redis }: MarksDeps): OverLogins => {
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
      await orUnavailable(() => redis.retry((lane) => lane.set(key, issuedAt, 'PX', OVER_MS)));
    },
    covers: async (login, issuedAt) => {
      const [bySession, byPerson] = await read(login);
      if (bySession != null) return true;
      return byPerson != null && issuedAt < Number(byPerson);
    },
  };
};
