import { createHash } from 'node:crypto';
import { registryKeys } from '@muster/kit/fleet/heartbeat';
import type { RedisConnections } from '@muster/kit/redis/connection';
import type { AnyConnection } from './core/connection/any-connection.ts';
import { userKeyOf } from './core/ports.ts';

/** Most clients remembered by a fleet; at the limit no client is moved until entries expire. About 10 MB of Redis. */
const MAX_CLIENTS = 100_000;
const KEY_BYTES = 12;

/**
 * Claims the first `ARGV[1]` clients that no gateway has moved within the cooldown, and returns their indexes.
 *
 * KEYS clients · ARGV most, cooldown, limit, client keys
 */
const CLAIM_SCRIPT = `
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
local room = math.min(tonumber(ARGV[1]), tonumber(ARGV[3]) - redis.call('ZCARD', KEYS[1]))
local claimed = {}
for i = 4, #ARGV do
  if #claimed >= room then break end
  if redis.call('ZADD', KEYS[1], 'NX', now + ARGV[2], ARGV[i]) == 1 then claimed[#claimed + 1] = i - 4 end
end
if #claimed > 0 then redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
return claimed`;

/** Identity of the clients that were moved recently, shared by the gateways of a fleet. */
export type MovedClients = ReturnType<typeof createMovedClients>;

/**
 * Creates the store. A client is its session, or the user of its token: several connections of it count as one. An anonymous client
 * is its connection.
 */
export const createMovedClients = (redis: RedisConnections, fleetName: string) => {
  const { moved } = registryKeys(redis.prefix, fleetName);
  return {
    /**
     * The first `most` candidates whose clients were not moved within the cooldown; they count as moved from now on. Rejects without
     * Redis: a client whose last move is unknown is not moved.
     */
    claim: async <C extends Pick<AnyConnection, 'id' | 'identity'>>(
      candidates: readonly C[],
      most: number,
      cooldownMs: number,
    ): Promise<C[]> => {
      if (candidates.length === 0) return [];
      // Not by retry(): a second execution would find the clients claimed by the first.
      const indexes = await redis
        .lane()
        .eval(CLAIM_SCRIPT, 1, moved, most, cooldownMs, MAX_CLIENTS, ...candidates.map(clientKey));
      return (indexes as number[]).flatMap((index) => candidates[index] ?? []);
    },
  };
};

/** A hash, so that the set holds no user ids. */
const clientKey = (connection: Pick<AnyConnection, 'id' | 'identity'>): string => {
  const { id, identity } = connection;
  const name = isAnonymous(connection) || identity === undefined ? id : (identity.sessionId ?? userKeyOf(identity));
  return createHash('sha256').update(name).digest().subarray(0, KEY_BYTES).toString('base64url');
};

/** True when the next connection of the client cannot be recognised. */
export const isAnonymous = ({ identity }: Pick<AnyConnection, 'identity'>): boolean =>
  identity === undefined || (identity.sessionId === undefined && identity.user === '');
