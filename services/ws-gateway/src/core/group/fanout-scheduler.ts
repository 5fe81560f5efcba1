import { after, type Clock } from '@muster/kit/clock';
import { flushAtEndOfTurn } from '@muster/kit/end-of-turn';

/** A group whose deliveries the scheduler spreads over time. */
export interface FanoutTask {
  /** Writes one slice of a large delivery. True when more is left. */
  proceed(): boolean;
  /** Writes the batched messages. */
  flush(): void;
}

/** Longest time in ms for which large fan-outs occupy one turn of the event loop. */
const TURN_BUDGET_MS = 8;
/**
 * A write to a member costs about 7 µs, so a busy group takes at most a fifth of a core. Groups of fewer members than 32, whose
 * window would be shorter than a timer can measure, join what one turn of the event loop brings.
 */
const WINDOW_MS_PER_MEMBER = 1 / 32;
const MIN_WINDOW_MS = 1;

/**
 * Spreads fan-outs over the event loop: large fan-outs in slices, round-robin over the groups, and publications of a busy group in
 * batches. Fewer writes are what makes a fan-out cheap. The window of a batch starts at the last write, so that a publication
 * waits only where another publication was written shortly before. `maxWindowMs` 0: no batching.
 */
export const createFanoutScheduler = (clock: Clock, maxWindowMs: number) => {
  const busy = new Set<FanoutTask>();
  let isScheduled = false;

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

  return {
    isBatching: maxWindowMs > 0,
    now: () => clock.monotonic(),
    /** Continues a delivery of which {@link FanoutTask.proceed} has more to do. */
    proceedLater: (task: FanoutTask): void => {
      busy.add(task);
      schedule();
    },
    /** Flushes a group of so many members when its window after the last write ends, at the end of this turn at the earliest. */
    flushLater: (task: FanoutTask, members: number, writtenAt: number): void => {
      const windowMs = Math.min(maxWindowMs, members * WINDOW_MS_PER_MEMBER);
      const waitMs = windowMs < MIN_WINDOW_MS ? 0 : writtenAt + windowMs - clock.monotonic();
      if (waitMs > 0) after(waitMs, () => task.flush());
      else flushAtEndOfTurn('publications', task);
    },
  };
};

export type FanoutScheduler = ReturnType<typeof createFanoutScheduler>;
