import type { RedisConnections } from '@muster/kit/redis/connection';

const LEASE_MS = 10_000;

/** Slots for instances that withdraw from the load balancer because of a local fault. */
export type SelfRemovals = ReturnType<typeof createSelfRemovals>;

/** KEYS slots · ARGV id, most, lease */
const GRANT_SCRIPT = `
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
if not redis.call('ZSCORE', KEYS[1], ARGV[1]) and redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[2]) then return 0 end
redis.call('ZADD', KEYS[1], now + ARGV[3], ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return 1`;

/** Slots in Redis, shared by all aggregators; a slot expires ten seconds after its last renewal. */
export const createSelfRemovals = (redis: RedisConnections, keyOf: (service: string) => string) => ({
  /** Acquires or renews the slot of an instance; false when all are taken. Rejects without Redis. */
  grant: async (service: string, id: string, most: number): Promise<boolean> => {
    const answer = await redis.retry((lane) => lane.eval(GRANT_SCRIPT, 1, keyOf(service), id, most, LEASE_MS));
    return answer === 1;
  },
});
