import type { AnyConnection } from './any-connection.ts';

const CHECK_MS = 1_000;

/** Detects connections with pending bytes of which the kernel has accepted none for `timeoutMs`. */
export const createStallDetector = (connections: () => Iterable<AnyConnection>, timeoutMs: number) => {
  /** Connections with pending bytes, which are few. */
  let watched = new Map<AnyConnection, { readonly progress: number; readonly since: number }>();
  let checkedAt = Number.NEGATIVE_INFINITY;
  return {
    /** Checks all connections once a second; to be called more often. `now` in monotonic ms. */
    tick: (now: number): void => {
      if (now - checkedAt < CHECK_MS) return;
      checkedAt = now;
      const still: typeof watched = new Map();
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
