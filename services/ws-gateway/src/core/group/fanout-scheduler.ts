import { after, type Clock } from '@muster/kit/clock';

/** A group whose deliveries the scheduler spreads over time. */
export interface FanoutTask {
  /** Writes one slice of a large delivery. True when more is left. */
  proceed(): boolean;
  /** Writes the batched messages at the monotonic time `now`. True when {@link proceed} has more to do. */
  flush(now?: number): boolean;
}

/** Longest time in ms for which large fan-outs occupy one turn of the event loop. */
const TURN_BUDGET_MS = 8;

/**
 * Spreads fan-outs over the event loop: large fan-outs in slices, round-robin over the groups, and publications of a
 * busy group in batches of `batchWindowMs` (0: no batching). Fewer writes are what makes a fan-out cheap.
 */
export const createFanoutScheduler = (clock: Clock, batchWindowMs: number) => {
  const busy = new Set<FanoutTask>();
  let isScheduled = false;
  let batching: FanoutTask[] = [];

  const schedule = (): void => {
    if (isScheduled) return;
    isScheduled = true;
    setImmediate(runTurn);
  };
  const runTurn = (): void => {
    isScheduled = false;
    const until = clock.monotonic() + TURN_BUDGET_MS;
    do {
      for (const task of busy) if (!task.proceed()) busy.delete(task);
    } while (busy.size > 0 && clock.monotonic() < until);
    if (busy.size > 0) schedule();
  };
  const proceedLater = (task: FanoutTask): void => {
    busy.add(task);
    schedule();
  };
  const flushAll = (): void => {
    const due = batching;
    batching = [];
    for (const task of due) if (task.flush(clock.monotonic())) proceedLater(task);
  };

  return {
    batchWindowMs,
    now: () => clock.monotonic(),
    /** Continues a delivery of which {@link FanoutTask.proceed} has more to do. */
    proceedLater,
    /** Flushes the task at the end of the batching window. */
    flushLater: (task: FanoutTask): void => {
      // One timer for all groups: a group that starts a batch late in the window is flushed a little early.
      if (batching.length === 0) after(batchWindowMs, flushAll);
      batching.push(task);
    },
  };
};

export type FanoutScheduler = ReturnType<typeof createFanoutScheduler>;
