import { every } from '@muster/kit/clock';

/** Runs `work`, which never rejects, every `intervalMs` and on request, one run at a time. Disposal waits for the last. */
export const createPeriodicJob = <T>(intervalMs: number, work: () => Promise<T>) => {
  let running: Promise<T> | undefined;
  /** Starts a run, or joins the current one. */
  const runOnce = (): Promise<T> => {
    running ??= work().finally(() => {
      running = undefined;
    });
    return running;
  };
  const stop = every(intervalMs, () => void runOnce());
  return {
    runOnce,
    [Symbol.asyncDispose]: async (): Promise<void> => {
      stop();
      await running;
    },
  };
};
