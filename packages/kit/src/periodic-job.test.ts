import { expect, test, vi } from 'vitest';
import { createPeriodicJob, oneAtATime } from './periodic-job.ts';

test('a call during a run joins it; the next call starts another run', async () => {
  const runs: PromiseWithResolvers<number>[] = [];
  const run = oneAtATime(() => {
    runs.push(Promise.withResolvers<number>());
    return runs[runs.length - 1]?.promise ?? Promise.reject(new Error('no run'));
  });
  const [first, joined] = [run(), run()];
  expect(runs).toHaveLength(1);
  let isSettled = false;
  const settled = run.settled().then(() => {
    isSettled = true;
  });
  await Promise.resolve();
  expect(isSettled).toBe(false);
  runs[0]?.resolve(1);
  expect(await Promise.all([first, joined])).toEqual([1, 1]);
  await settled;
  void run();
  expect(runs).toHaveLength(2);
});

test('a job runs at its interval, one run at a time; disposal waits for the last run', async () => {
  vi.useFakeTimers();
  try {
    let started = 0;
    const gate = Promise.withResolvers<void>();
    const job = createPeriodicJob(100, () => {
      started += 1;
      return gate.promise;
    });
    vi.advanceTimersByTime(350);
    expect(started).toBe(1);
    let isDisposed = false;
    const disposal = job[Symbol.asyncDispose]().then(() => {
      isDisposed = true;
    });
    await Promise.resolve();
    expect(isDisposed).toBe(false);
    gate.resolve();
    await disposal;
    vi.advanceTimersByTime(350);
    expect(started).toBe(1);
  } finally {
    vi.useRealTimers();
  }
});
