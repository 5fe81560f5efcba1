import type { RedisConnections } from '@muster/kit/redis';
import type { Redis } from 'ioredis';

/** Always the same lane while it works: on two lanes, two commands of one caller could change places. */
export const stickyLane = (redis: RedisConnections): (() => Redis) => {
  let lane: Redis | undefined;
  return () => {
    if (lane?.status !== 'ready') lane = redis.lane();
    return lane;
  };
};
