import type { Clock } from '@muster/kit/clock';
import type { Random } from '@muster/kit/runtime';

const JITTER = 0.1;
const FIRST_WITHIN_MS = 500;

/** A target with an interval of its own. */
export interface PeriodicTarget {
  readonly id: string;
  readonly periodMs: number;
}

/** `run` must have a time limit and never reject. */
interface ProbeSchedulerDeps<T extends PeriodicTarget> {
  readonly clock: Clock;
  readonly random: Random;
  readonly targets: () => Iterable<T>;
  readonly run: (target: T) => Promise<void>;
  readonly concurrency: number;
  /** Called with the lag of each start, ms. */
  readonly onLag?: (lagMs: number) => void;
}

interface Entry {
  lastStart: number;
  /** Share of the period until the next start, 0.9 to 1.1. */
  factor: number;
  /** Due time of the first run; undefined after it. */
  firstAt: number | undefined;
  running: boolean;
  seen: number;
}

/**
 * Runs targets periodically with ±10 % jitter, measured from start to start, so the interval of a slow target is the same. At most
 * one run of a target at a time, and `concurrency` in all; the longest overdue target first.
 */
export const createProbeScheduler = <T extends PeriodicTarget>(deps: ProbeSchedulerDeps<T>) => {
  const { clock, random, targets, run, concurrency, onLag } = deps;
  const entries = new Map<string, Entry>();
  let round = 0;
  let inFlight = 0;

  const dueAt = (entry: Entry, target: T): number => entry.firstAt ?? entry.lastStart + target.periodMs * entry.factor;

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
    /** Starts the due runs within the concurrency limit; call it every 50 ms or more often. */
    tick: (): void => {
      round += 1;
      const now = clock.monotonic();
      const due = overdue(now);
      for (const [id, entry] of entries) if (entry.seen !== round && !entry.running) entries.delete(id);
      for (const { target, entry, at } of due) {
        if (inFlight >= concurrency) return;
        start(target, entry, now, at);
      }
    },
    get inFlight(): number {
      return inFlight;
    },
  };
};
