import { AppError } from '@muster/protocol/errors';

/** Concurrent reads of a process; bounds the output buffers of Redis. */
const MAX_CONCURRENT = 4;
/** Distinct queued reads; above it a read fails at once. */
const MAX_WAITING = 20_000;

/**
 * Limits concurrent reads. Further reads are queued in order, and equal queued reads are merged. A read in progress is not
 * shared: it may miss later publications. Throws {@link AppError} REDIS_UNAVAILABLE when the queue is full.
 */
export const createReadCoalescer = <T>(): ((key: string, read: () => Promise<T>) => Promise<T>) => {
  const waiting = new Map<string, { readonly start: () => void; readonly result: Promise<T> }>();
  let active = 0;

  const perform = async (read: () => Promise<T>): Promise<T> => {
    active += 1;
    try {
      return await read();
    } finally {
      active -= 1;
      const [next] = waiting;
      if (next !== undefined) {
        waiting.delete(next[0]);
        next[1].start();
      }
    }
  };

  return (key, read) => {
    if (active < MAX_CONCURRENT) return perform(read);
    const same = waiting.get(key);
    if (same !== undefined) return same.result;
    if (waiting.size >= MAX_WAITING) return Promise.reject(new AppError('REDIS_UNAVAILABLE'));
    const { promise, resolve } = Promise.withResolvers<void>();
    const result = promise.then(() => perform(read));
    waiting.set(key, { start: resolve, result });
    return result;
  };
};
