import type { RedisConnections } from '@muster/kit/redis';
import type { LegacyStore } from '../core/legacy.ts';

/** The sessions of connect-redis in our Redis, under the prefix of that application. */
export const createLegacyStore = (redis: RedisConnections, prefix: string): LegacyStore => ({
  read: async (sid) => (await redis.retry((lane) => lane.get(prefix + sid))) ?? undefined,
  remove: async (sid) => {
    await redis.retry((lane) => lane.del(prefix + sid));
  },
});
