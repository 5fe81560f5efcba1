import type { RedisLink } from '@muster/kit/redis/channels';
import type { RedisConnections } from '@muster/kit/redis/connection';

/** The same connection of the pool while it is ready: on two connections, commands of one caller could be reordered. */
export const pinnedConnection = (redis: RedisConnections): (() => RedisLink) => {
  let lane: RedisLink | undefined;
  return () => {
    if (lane?.status !== 'ready') lane = redis.lane();
    return lane;
  };
};
