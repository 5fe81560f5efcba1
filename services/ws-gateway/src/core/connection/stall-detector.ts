import type { Clock } from '@muster/kit/clock';

/** A connection whose writes may be delayed. */
export interface StallableConnection {
  readonly isClosed: boolean;
  /** Bytes that the kernel has not accepted yet. */
  readonly lagBytes: number;
  /** Changes whenever the kernel has accepted some of them. */
  readonly progress: number;
  /** Called when `progress` has not changed within the write timeout although bytes wait. */
  onStalled(): void;
}

const CHECK_MS = 1_000;

/**
 * Detects connections with pending bytes of which the kernel has accepted none for `timeoutMs`. It watches only connections with
 * pending bytes, which are few: an idle one is never visited.
 */
export const createStallDetector = (clock: Clock, timeoutMs: number) => {
  const watched = new Map<StallableConnection, { progress: number; since: number }>();
  let checkedAt = Number.NEGATIVE_INFINITY;
  return {
    /** Called when a write was delayed. */
    watch: (one: StallableConnection): void => {
      if (!watched.has(one)) watched.set(one, { progress: one.progress, since: clock.monotonic() });
    },
    /** Checks the watched connections once a second; to be called more often. `now` in monotonic ms. */
    tick: (now: number): void => {
      if (watched.size === 0 || now - checkedAt < CHECK_MS) return;
      checkedAt = now;
      for (const [one, seen] of watched) {
        if (one.isClosed || one.lagBytes === 0) watched.delete(one);
        else if (seen.progress !== one.progress) {
          seen.progress = one.progress;
          seen.since = now;
        } else if (now - seen.since >= timeoutMs) {
          watched.delete(one);
          one.onStalled();
        }
      }
    },
  };
};

export type StallDetector = ReturnType<typeof createStallDetector>;
