import type { Clock } from '@muster/kit/clock';

/** A round date reads well in failures. */
const DEFAULT_NOW = Date.UTC(2026, 0, 1);

/** Clock that only a test advances. */
export interface FakeClock extends Clock {
  /** Advances the wall clock and the monotonic clock. */
  advance(ms: number): void;
  /** Sets the wall clock only, like NTP; the monotonic clock is unchanged. */
  setWallClock(now: number): void;
}

/** Creates a clock at `now` (default 2026-01-01) and monotonic zero. */
export const createFakeClock = (now: number = DEFAULT_NOW): FakeClock => {
  let wall = now;
  let elapsed = 0;
  return {
    now: () => wall,
    monotonic: () => elapsed,
    advance(ms) {
      if (ms < 0) throw new RangeError('advance: expected a positive duration; setWallClock can go backwards');
      wall += ms;
      elapsed += ms;
    },
    setWallClock(moment) {
      wall = moment;
    },
  };
};
