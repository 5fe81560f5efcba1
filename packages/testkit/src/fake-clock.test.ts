import { expect, test } from 'vitest';
import { createFakeClock } from './fake-clock.ts';

test('[TW1] stands still until it is advanced', () => {
  const clock = createFakeClock(1_000);
  expect([clock.now(), clock.monotonic()]).toEqual([1_000, 0]);
  clock.advance(250);
  expect([clock.now(), clock.monotonic()]).toEqual([1_250, 250]);
});

test('[TW6] the monotonic clock does not change when the wall clock is set', () => {
  const clock = createFakeClock(1_000);
  clock.setWallClock(0);
  expect([clock.now(), clock.monotonic()]).toEqual([0, 0]);
  clock.advance(5);
  expect([clock.now(), clock.monotonic()]).toEqual([5, 5]);
});

test('[TW1] refuses to run backwards', () => {
  expect(() => createFakeClock().advance(-1)).toThrow(RangeError);
});
