/** Time as a dependency, so that tests control it. */
export interface Clock {
  /** Wall-clock milliseconds since the Unix epoch. */
  now(): number;
  /** Monotonic milliseconds; only differences are meaningful. */
  monotonic(): number;
}

/** The clock of the machine. */
export const systemClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
};

/** Cancels a timer or a subscription; idempotent. */
export type Stop = () => void;

/** A job of {@link every}. Times in monotonic ms. */
interface Job {
  readonly ms: number;
  readonly run: () => void;
  dueAt: number;
}

/**
 * Most of the CPU time of an idle process is wake-ups, so all jobs with at least this interval share one timer, in ms. Measured by
 * the row of idle connections in `npm run bench`.
 */
const SHARED_TICK_MS = 100;
const jobs = new Set<Job>();
let ticking: NodeJS.Timeout | undefined;

const runDue = (): void => {
  // Half a tick: a timer that is early by a fraction of a millisecond must not delay a job by a whole tick.
  const now = performance.now() + SHARED_TICK_MS / 2;
  for (const job of jobs) {
    if (job.dueAt > now && job.ms > SHARED_TICK_MS) continue;
    const next = job.dueAt + job.ms;
    // Runs missed by a blocked process are not repeated.
    job.dueAt = next > now ? next : now + job.ms;
    job.run();
  }
};

/**
 * Runs `run` every `ms` milliseconds without keeping the process alive. From 100 ms, a run is up to 50 ms early or late, and the first
 * of a job of 100 ms up to 100 ms early.
 */
export const every = (ms: number, run: () => void): Stop => {
  if (ms < SHARED_TICK_MS) {
    const timer = setInterval(run, ms);
    timer.unref();
    return () => clearInterval(timer);
  }
  const job = { ms, run, dueAt: performance.now() + ms };
  jobs.add(job);
  ticking ??= setInterval(runDue, SHARED_TICK_MS).unref();
  return () => {
    jobs.delete(job);
    if (jobs.size > 0) return;
    clearInterval(ticking);
    ticking = undefined;
  };
};

/** Runs `run` once after `ms` milliseconds without keeping the process alive. */
export const after = (ms: number, run: () => void): Stop => {
  const timer = setTimeout(run, ms);
  timer.unref();
  return () => clearTimeout(timer);
};

/** Resolves after `ms` milliseconds, or at once when the signal aborts. Never rejects. */
export const sleep = (ms: number, signal?: AbortSignal): Promise<void> =>
  new Promise((resolve) => {
    if (signal?.aborted) return resolve();
    const done = () => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    signal?.addEventListener('abort', done);
  });

/** Settles like `work`, or rejects with a {@link TimeoutError} after `ms` milliseconds. The work itself continues. */
export const within = async <T>(ms: number, what: string, work: Promise<T>): Promise<T> => {
  let stop: Stop = () => {};
  const late = new Promise<never>((_, reject) => {
    stop = after(ms, () => reject(new TimeoutError(`${what} took longer than ${ms} ms`)));
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    stop();
  }
};

/** A timeout of this process, not of a peer. */
export class TimeoutError extends Error {
  override readonly name = 'TimeoutError';
}
