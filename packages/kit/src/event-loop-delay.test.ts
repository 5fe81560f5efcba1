import { expect, test } from 'vitest';
import { delayPercentile99 } from './event-loop-delay.ts';

test('[BT6] delays are weighted by their duration', () => {
  const quiet = Array.from({ length: 100 }, () => 0.5);
  expect(delayPercentile99(quiet)).toBe(0.5);
  expect(delayPercentile99([...quiet, 400])).toBe(400);
  // One late tick of many is less than a hundredth of the time.
  expect(delayPercentile99([...Array.from({ length: 1_000 }, () => 0), 5])).toBe(0);
  expect(delayPercentile99([])).toBe(0);
});
