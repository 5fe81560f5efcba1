/** Time as a dependency, so that tests control it. */
export interface Clock {
  /** Wall-clock milliseconds since the Unix epoch. */
  now(): number;
  /** Monotonic milliseconds; only differences are meaningful. */
  monotonic(): number;
}

/** The clock of the machine. */
export const systemClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
};

/** Cancels a timer or a subscription; idempotent. */
export type Stop = () => void;

/** Runs `run` every `ms` milliseconds without keeping the process alive. */
export const every = (ms: number, run: () => void): Stop => {
  const timer = setInterval(run, ms);
  timer.unref();
  return () => clearInterval(timer);
};

/** Runs `run` once after `ms` milliseconds without keeping the process alive. */
export const after = (ms: number, run: () => void): Stop => {
  const timer = setTimeout(run, ms);
  timer.unref();
  return () => clearTimeout(timer);
};

/** Resolves after `ms` milliseconds, or at once when the signal aborts. Never rejects. */
export const sleep = (ms: number, signal?: AbortSignal): Promise<void> =>
  new Promise((resolve) => {
    if (signal?.aborted) return resolve();
    const done = () => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    signal?.addEventListener('abort', done);
  });

/** Settles like `work`, or rejects with a {@link TimeoutError} after `ms` milliseconds. The work itself continues. */
export const within = async <T>(ms: number, what: string, work: Promise<T>): Promise<T> => {
  let stop: Stop = () => {};
  const late = new Promise<never>((_, reject) => {
    stop = after(ms, () => reject(new TimeoutError(`${what} took longer than ${ms} ms`)));
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    stop();
  }
};

/** A timeout of this process, not of a peer. */
export class TimeoutError extends Error {
  override readonly name = 'TimeoutError';
}
