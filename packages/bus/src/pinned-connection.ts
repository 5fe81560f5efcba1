import type { RedisConnections, RedisLane } from '@muster/kit/redis/connection';

/** Always the same lane while it works: on two lanes, two commands of one caller could change places. */
export const stickyLane = (redis: RedisConnections): (() => RedisLane) => {
  let lane: RedisLane | undefined;
  return () => {
    if (lane?.status !== 'ready') lane = redis.lane();
    return lane;
  };
};
