import { isRedisFault } from '@muster/kit/redis/connection';
import { AppError } from '@muster/protocol/errors';

const RETRY_S = 2;

/** Runs work that requires Redis: its faults become `REDIS_UNAVAILABLE`. */
export const orUnavailable = async <T>(work: () => Promise<T>): Promise<T> => {
  try {
    return await work();
  } catch (error) {
    if (!isRedisFault(error)) throw error;
    throw new AppError('REDIS_UNAVAILABLE', { retryAfterS: RETRY_S, cause: error });
  }
};
