const FIRST_PAUSE_MS = 200;
const LONGEST_PAUSE_MS = 10_000;
/** Up for this long, and the next crash counts as the first again. */
const STEADY_MS = 30_000;

/** How long to wait before the next start. */
export interface BackOff {
  /** It serves now. */
  up(): void;
  /** It ended, or did not come up: the pause in milliseconds before it is started again. */
  pause(): number;
}

/** 0.2 s, twice as long each time, at most 10 s; from the beginning after 30 s of service. `now` is monotonic, in ms. */
export const createBackOff = (now: () => number): BackOff => {
  let next = FIRST_PAUSE_MS;
  let upSince: number | undefined;
  return {
    up() {
      upSince = now();
    },
    pause() {
      if (upSince !== undefined && now() - upSince >= STEADY_MS) next = FIRST_PAUSE_MS;
      upSince = undefined;
      const pause = next;
      next = Math.min(LONGEST_PAUSE_MS, next * 2);
      return pause;
    },
  };
};
