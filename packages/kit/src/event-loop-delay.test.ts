import { expect, test } from 'vitest';
import { delayPercentile99, type LoopSample } from './event-loop-delay.ts';

const samples = (count: number, delayMs: number, tickMs = 20): LoopSample[] =>
  Array.from({ length: count }, () => ({ delayMs, passedMs: tickMs + delayMs }));

test('[BT6] delays are weighted by their duration', () => {
  const quiet = samples(100, 0.5);
  expect(delayPercentile99(quiet)).toBe(0.5);
  expect(delayPercentile99([...quiet, ...samples(1, 400)])).toBe(400);
  // One late tick of many is less than a hundredth of the time.
  expect(delayPercentile99([...samples(1_000, 0), ...samples(1, 5)])).toBe(0);
  // The ticks of an idle process have longer intervals.
  expect(delayPercentile99([...samples(100, 0, 100), ...samples(1, 400)])).toBe(400);
  expect(delayPercentile99([])).toBe(0);
});
