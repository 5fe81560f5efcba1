import { AppError } from '@muster/protocol/errors';

/** Readings of streams that are under way at the same time: what Redis holds ready for this process is at most so many answers. */
const READS_AT_ONCE = 4;
/** Different readings that wait; more fail at once. */
const MAX_WAITING = 20_000;

/**
 * Limits the readings under way at the same time. The others wait in order, and equal ones that wait become one: a reading
 * under way is not shared, for it may miss what was published since. Throws {@link AppError} REDIS_UNAVAILABLE when
 * too many wait.
 */
export const createReadCoalescer = <T>(): ((key: string, read: () => Promise<T>) => Promise<T>) => {
  const waiting = new Map<string, { readonly start: () => void; readonly result: Promise<T> }>();
  let underWay = 0;

  const perform = async (read: () => Promise<T>): Promise<T> => {
    underWay += 1;
    try {
      return await read();
    } finally {
      underWay -= 1;
      const [next] = waiting;
      if (next !== undefined) {
        waiting.delete(next[0]);
        next[1].start();
      }
    }
  };

  return (key, read) => {
    if (underWay < READS_AT_ONCE) return perform(read);
    const same = waiting.get(key);
    if (same !== undefined) return same.result;
    if (waiting.size >= MAX_WAITING) return Promise.reject(new AppError('REDIS_UNAVAILABLE'));
    const { promise, resolve } = Promise.withResolvers<void>();
    const result = promise.then(() => perform(read));
    waiting.set(key, { start: resolve, result });
    return result;
  };
};
