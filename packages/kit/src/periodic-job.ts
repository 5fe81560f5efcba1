import { every } from './clock.ts';

/** Starts `work`, or joins the run in progress. `settled` resolves after that run, or at once. */
export const oneAtATime = <T>(work: () => Promise<T>) => {
  let running: Promise<T> | undefined;
  const run = (): Promise<T> => {
    running ??= work().finally(() => {
      running = undefined;
    });
    return running;
  };
  return Object.assign(run, { settled: async (): Promise<void> => void (await running) });
};

/**
 * Runs `work`, which never rejects, every `intervalMs` and on request, one run at a time. Disposal stops the timer and
 * waits for the last run.
 */
export const createPeriodicJob = <T>(intervalMs: number, work: () => Promise<T>) => {
  const runOnce = oneAtATime(work);
  const stop = every(intervalMs, () => void runOnce());
  return {
    /** Starts a run, or joins the current one. */
    runOnce: (): Promise<T> => runOnce(),
    [Symbol.asyncDispose]: async (): Promise<void> => {
      stop();
      await runOnce.settled();
    },
  };
};
