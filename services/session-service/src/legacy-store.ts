import { createHash } from 'node:crypto';
import type { RedisConnections } from '@muster/kit/redis/connection';
import type { LegacyStore } from './legacy-import.ts';
import { orUnavailable } from './redis-errors.ts';

/** A browser sends several requests at once; those still on their way carry the old cookie. */
const HANDED_OVER_MS = 60_000;

/** The sessions of connect-redis in our Redis, under the prefix of that application. */
export const createLegacyStore = (redis: RedisConnections, prefix: string): LegacyStore => {
  const markOf = (sid: string): string =>
    `${redis.prefix}im:{${createHash('sha256').update(sid).digest('base64url')}}`;
  return {
    read: (sid) =>
      orUnavailable(async () => {
        const [old, handedOver] = await redis.retry((lane) =>
          Promise.all([lane.get(prefix + sid), lane.get(markOf(sid))]),
        );
        const json = handedOver ?? old;
        return json === null ? undefined : { json, isImported: handedOver !== null };
      }),
    markImported: (sid, json) =>
      orUnavailable(async () => {
        await redis.retry((lane) => lane.set(markOf(sid), json, 'PX', HANDED_OVER_MS));
        await redis.retry((lane) => lane.del(prefix + sid));
      }),
  };
};
