import { type Clock, within } from './clock.ts';

/** A call that was not even tried, because the last ones failed. */
export class BreakerOpenError extends Error {
  override readonly name = 'BreakerOpenError';
}

/** Gives up on something that keeps failing, for a while. */
export interface Breaker {
  /** Runs with a deadline; rejects at once while open. After the pause one call at a time tries again. */
  run<T>(work: () => Promise<T>): Promise<T>;
  isOpen(): boolean;
}

interface BreakerOptions {
  readonly clock: Clock;
  readonly what: string;
  /** Longest wait for one call, in ms. */
  readonly deadlineMs: number;
  /** Failures in a row that open it. */
  readonly failures?: number;
  /** Pause before the next try, in ms. */
  readonly pauseMs?: number;
}

/** A breaker around calls that reject when their server is in trouble. */
export const createBreaker = (options: BreakerOptions): Breaker => {
  const { clock, what, deadlineMs, failures = 5, pauseMs = 1000 } = options;
  let inARow = 0;
  let openUntil = Number.NEGATIVE_INFINITY;
  let probing = false;

  const isOpen = (): boolean => inARow >= failures && (probing || clock.monotonic() < openUntil);
  const attempt = async <T>(work: () => Promise<T>): Promise<T> => {
    try {
      const result = await within(deadlineMs, what, work());
      inARow = 0;
      return result;
    } catch (error) {
      inARow += 1;
      openUntil = clock.monotonic() + pauseMs;
      throw error;
    }
  };

  return {
    isOpen,
    run: async (work) => {
      if (isOpen()) throw new BreakerOpenError(`${what} is not tried just now`);
      if (inARow < failures) return attempt(work);
      probing = true;
      try {
        return await attempt(work);
      } finally {
        probing = false;
      }
    },
  };
};
