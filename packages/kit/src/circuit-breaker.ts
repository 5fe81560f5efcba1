import { type Clock, within } from './clock.ts';

/** Rejection of a call while the breaker is open. */
export class BreakerOpenError extends Error {
  override readonly name = 'BreakerOpenError';
}

/** A circuit breaker: after a number of failures in a row it rejects calls for a pause. */
export interface Breaker {
  /** Runs with a timeout; rejects with {@link BreakerOpenError} while open. After the pause one call at a time is a trial. */
  run<T>(work: () => Promise<T>): Promise<T>;
  isOpen(): boolean;
}

interface BreakerOptions {
  readonly clock: Clock;
  /** The called system, for error texts. */
  readonly what: string;
  /** Timeout of a call, in ms. */
  readonly deadlineMs: number;
  /** Failures in a row that open the breaker; default 5. */
  readonly failures?: number;
  /** Pause before a trial call, in ms; default 1000. */
  readonly pauseMs?: number;
}

/** A breaker in the closed state. */
export const createBreaker = (options: BreakerOptions): Breaker => {
  const { clock, what, deadlineMs, failures = 5, pauseMs = 1000 } = options;
  let failuresInARow = 0;
  let openUntil = Number.NEGATIVE_INFINITY;
  let probing = false;

  const isOpen = (): boolean => failuresInARow >= failures && (probing || clock.monotonic() < openUntil);
  const attempt = async <T>(work: () => Promise<T>): Promise<T> => {
    try {
      const result = await within(deadlineMs, what, work());
      failuresInARow = 0;
      return result;
    } catch (error) {
      failuresInARow += 1;
      openUntil = clock.monotonic() + pauseMs;
      throw error;
    }
  };

  return {
    isOpen,
    run: async (work) => {
      if (isOpen()) throw new BreakerOpenError(`${what}: not called, because the last calls failed`);
      if (failuresInARow < failures) return attempt(work);
      probing = true;
      try {
        return await attempt(work);
      } finally {
        probing = false;
      }
    },
  };
};
