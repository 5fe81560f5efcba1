import type { RedisConnections } from '@muster/kit/redis/connection';

const LEASE_MS = 10_000;

/** Slots for instances that take themselves out of the pool, shared by all aggregators. */
export interface SelfRemovals {
  /** Takes or renews the slot of an instance; false when all are taken. Rejects without Redis. */
  grant(service: string, id: string, most: number): Promise<boolean>;
}

/** KEYS slots · ARGV id, most, lease */
const GRANT_SCRIPT = `
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
if not redis.call('ZSCORE', KEYS[1], ARGV[1]) and redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[2]) then return 0 end
redis.call('ZADD', KEYS[1], now + ARGV[3], ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return 1`;

/** A slot is held for ten seconds after it was last asked for. */
export const createSelfRemovals = (
  redis: RedisConnections,
  keyOf: (service: string) => string,
): SelfRemovals => ({
  grant: async (service, id, most) => {
    const answer = await redis.retry((lane) =>
      lane.eval(GRANT_SCRIPT, 1, keyOf(service), id, most, LEASE_MS),
    );
    return answer === 1;
  },
});
