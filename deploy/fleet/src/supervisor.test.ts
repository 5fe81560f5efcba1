import { expect, test } from 'vitest';
import { createBackOff } from './supervisor.ts';

test('[LA10] delays double from 0.2 s up to 10 s', () => {
  const backOff = createBackOff(() => 0);
  const delays = Array.from({ length: 8 }, () => backOff.nextDelay());
  expect(delays).toEqual([200, 400, 800, 1_600, 3_200, 6_400, 10_000, 10_000]);
});

test('[LA30] 30 s of operation reset the delay, less do not', () => {
  let now = 0;
  const backOff = createBackOff(() => now);
  backOff.nextDelay();
  backOff.up();
  now += 29_999;
  expect(backOff.nextDelay()).toBe(400);
  backOff.up();
  now += 30_000;
  expect(backOff.nextDelay()).toBe(200);
});

test('[LA30] time spent down does not reset the delay', () => {
  let now = 0;
  const backOff = createBackOff(() => now);
  backOff.up();
  expect(backOff.nextDelay()).toBe(200);
  now += 60_000;
  expect(backOff.nextDelay()).toBe(400);
});
