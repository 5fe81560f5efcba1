import type { Clock } from '@muster/kit/clock';
import type { LocalGroup } from './group.ts';

/** Carries large fan-outs on, a few milliseconds per turn of the event loop, each group in its turn. */
export interface FanoutScheduler {
  add(group: LocalGroup): void;
}

/** Longest time in milliseconds that fan-outs keep the event loop to themselves. */
const BUDGET_MS = 8;

export const createFanoutScheduler = (clock: Clock): FanoutScheduler => {
  const busy = new Set<LocalGroup>();
  let scheduled = false;
  const schedule = (): void => {
    if (scheduled) return;
    scheduled = true;
    setImmediate(run);
  };
  const run = (): void => {
    scheduled = false;
    const until = clock.monotonic() + BUDGET_MS;
    do {
      for (const group of busy) if (!group.proceed()) busy.delete(group);
    } while (busy.size > 0 && clock.monotonic() < until);
    if (busy.size > 0) schedule();
  };
  return {
    add: (group) => {
      busy.add(group);
      schedule();
    },
  };
};
