import type { RedisLink } from '@muster/kit/redis/channels';
import type { RedisConnections } from '@muster/kit/redis/connection';

/** Always the same lane while it works: on two lanes, two commands of one caller could change places. */
export const pinnedConnection = (redis: RedisConnections): (() => RedisLink) => {
  let lane: RedisLink | undefined;
  return () => {
    if (lane?.status !== 'ready') lane = redis.lane();
    return lane;
  };
};
