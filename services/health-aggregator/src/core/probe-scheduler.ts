import type { Clock } from '@muster/kit/clock';
import type { Random } from '@muster/kit/runtime';

const JITTER = 0.1;
const FIRST_WITHIN_MS = 500;

/** Anything that is done again and again, each at its own period. */
export interface PeriodicTarget {
  readonly id: string;
  readonly periodMs: number;
}

/** One clockwork for all targets: `tick` starts what is due. */
export interface Scheduler {
  /** Starts every due run for which there is room; call it often (each 50 ms). */
  tick(): void;
  readonly inFlight: number;
}

/** What the scheduler needs; `run` must settle by itself (a time limit) and never reject. */
export interface SchedulerDeps<T extends PeriodicTarget> {
  readonly clock: Clock;
  readonly random: Random;
  readonly targets: () => Iterable<T>;
  readonly run: (target: T) => Promise<void>;
  readonly concurrency: number;
  /** Told how late a run started, ms. */
  readonly onLag?: (lagMs: number) => void;
}

interface Entry {
  lastStart: number;
  /** Share of the period until the next start, 0.9 to 1.1. */
  factor: number;
  /** Set until the first run: when that is due. */
  firstAt: number | undefined;
  running: boolean;
  seen: number;
}

/**
 * Runs targets periodically with ±10 % jitter, measured from start to start (so a slow target is not asked less often),
 * never two runs of one target at a time, never more than `concurrency` in all; the longest overdue goes first.
 */
export const createProbeScheduler = <T extends PeriodicTarget>(deps: SchedulerDeps<T>): Scheduler => {
  const { clock, random, targets, run, concurrency, onLag } = deps;
  const entries = new Map<string, Entry>();
  let round = 0;
  let inFlight = 0;

  const dueAt = (entry: Entry, target: T): number =>
    entry.firstAt ?? entry.lastStart + target.periodMs * entry.factor;

  const start = (target: T, entry: Entry, now: number, due: number): void => {
    entry.running = true;
    entry.firstAt = undefined;
    entry.lastStart = now;
    entry.factor = 1 - JITTER + random.fraction() * 2 * JITTER;
    inFlight += 1;
    onLag?.(Math.max(0, now - due));
    const done = (): void => {
      entry.running = false;
      inFlight -= 1;
    };
    run(target).then(done, done);
  };

  const entryOf = (target: T, now: number): Entry => {
    let entry = entries.get(target.id);
    if (!entry) {
      const within = Math.min(FIRST_WITHIN_MS, target.periodMs);
      entry = {
        lastStart: now,
        factor: 1,
        firstAt: now + random.fraction() * within,
        running: false,
        seen: round,
      };
      entries.set(target.id, entry);
    }
    entry.seen = round;
    return entry;
  };

  const overdue = (now: number): { target: T; entry: Entry; at: number }[] => {
    const due: { target: T; entry: Entry; at: number }[] = [];
    for (const target of targets()) {
      const entry = entryOf(target, now);
      const at = dueAt(entry, target);
      if (!entry.running && at <= now) due.push({ target, entry, at });
    }
    return due.sort((a, b) => a.at - b.at);
  };

  return {
    tick: () => {
      round += 1;
      const now = clock.monotonic();
      const due = overdue(now);
      for (const [id, entry] of entries) if (entry.seen !== round && !entry.running) entries.delete(id);
      for (const { target, entry, at } of due) {
        if (inFlight >= concurrency) return;
        start(target, entry, now, at);
      }
    },
    get inFlight() {
      return inFlight;
    },
  };
};
