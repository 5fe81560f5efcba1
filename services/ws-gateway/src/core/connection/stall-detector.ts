import type { AnyConnection } from './any-connection.ts';

/** Finds connections whose peer has stopped reading for good. */
export interface StallDetector {
  /** Looks at all connections once a second; to be called more often. `now` in monotonic ms. */
  tick(now: number): void;
}

interface Stalled {
  readonly progress: number;
  readonly since: number;
}

const SWEEP_MS = 1_000;

/** Ends connections for which bytes wait and of which the kernel has taken none for `timeoutMs`. */
export const createStallDetector = (
  connections: () => Iterable<AnyConnection>,
  timeoutMs: number,
): StallDetector => {
  /** Only those for which bytes wait, which are few. */
  let watched = new Map<AnyConnection, Stalled>();
  let sweptAt = Number.NEGATIVE_INFINITY;
  return {
    tick: (now) => {
      if (now - sweptAt < SWEEP_MS) return;
      sweptAt = now;
      const still = new Map<AnyConnection, Stalled>();
      for (const one of connections()) {
        if (one.lagBytes === 0) continue;
        const { progress } = one;
        const before = watched.get(one);
        const stalled = before?.progress === progress ? before : { progress, since: now };
        if (now - stalled.since >= timeoutMs) one.onStalled();
        else still.set(one, stalled);
      }
      watched = still;
    },
  };
};
