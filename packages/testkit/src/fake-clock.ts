import type { Clock } from '@muster/kit/clock';

/** Any moment will do; a round one reads well in failures. */
const DEFAULT_NOW = Date.UTC(2026, 0, 1);

/** A clock that stands still until a test moves it. */
export interface FakeClock extends Clock {
  /** Moves both the wall clock and the monotonic one forward. */
  advance(ms: number): void;
  /** Sets the wall clock alone, as an operator or NTP would; the monotonic one does not notice. */
  setWallClock(now: number): void;
}

/** A clock that starts at `now` (2026-01-01 by default) and at monotonic zero. */
export const createFakeClock = (now: number = DEFAULT_NOW): FakeClock => {
  let wall = now;
  let elapsed = 0;
  return {
    now: () => wall,
    monotonic: () => elapsed,
    advance(ms) {
      if (ms < 0) throw new RangeError('time does not run backwards; setWallClock does');
      wall += ms;
      elapsed += ms;
    },
    setWallClock(moment) {
      wall = moment;
    },
  };
};
