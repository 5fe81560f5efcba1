import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { every, type Stop } from './clock.ts';

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

const TEN_SECONDS_MS = 10_000;

test('jobs of any interval keep their rate, and share one timer from 100 ms', () => {
  const runs = new Map<number, number>();
  const stops: Stop[] = [20, 100, 250, 333, 1_000].map((ms) =>
    every(ms, () => void runs.set(ms, (runs.get(ms) ?? 0) + 1)),
  );
  expect(vi.getTimerCount()).toBe(2);
  vi.advanceTimersByTime(TEN_SECONDS_MS);
  expect(Object.fromEntries(runs)).toEqual({ 20: 500, 100: 100, 250: 40, 333: 30, 1000: 10 });
  for (const stop of stops) stop();
  expect(vi.getTimerCount()).toBe(0);
});

test('a job that stops another, or itself, in a run is obeyed at once', () => {
  const ran: string[] = [];
  const stopOther: Stop[] = [];
  stopOther.push(
    every(100, () => {
      ran.push('first');
      for (const stop of stopOther) stop();
    }),
    every(100, () => void ran.push('second')),
  );
  vi.advanceTimersByTime(TEN_SECONDS_MS);
  expect(ran).toEqual(['first']);
});

test('runs missed while the process was blocked are not repeated', () => {
  const ranAt: number[] = [];
  const stop = every(1_000, () => void ranAt.push(performance.now()));
  vi.advanceTimersByTime(1_000);
  // The clock advances and no timer runs, as in a blocked process.
  const before = performance.now.bind(performance);
  const clock = vi.spyOn(performance, 'now').mockImplementation(() => before() + TEN_SECONDS_MS);
  vi.advanceTimersByTime(2_200);
  clock.mockRestore();
  stop();
  expect(ranAt).toEqual([1_000, 11_100, 12_100, 13_100]);
});
