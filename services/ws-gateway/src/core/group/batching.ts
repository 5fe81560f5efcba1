import { after, type Clock } from '@muster/kit/clock';
import type { LocalGroup } from './group.ts';

/**
 * Lets messages of a busy group wait for each other. The first after a quiet time goes at once; while more keep coming,
 * they are gathered for a few milliseconds and written together: fewer writes are what makes a fan-out cheap.
 */
export interface PublishBatching {
  /** Milliseconds for which messages are gathered; 0 writes each at once. */
  readonly windowMs: number;
  now(): number;
  /** The group has gathered something: it is flushed when the window is over. */
  later(group: LocalGroup): void;
}

export const createPublishBatching = (
  { clock, windowMs }: { readonly clock: Clock; readonly windowMs: number },
  flush: (group: LocalGroup) => void,
): PublishBatching => {
  let waiting: LocalGroup[] = [];
  const run = (): void => {
    const due = waiting;
    waiting = [];
    for (const group of due) flush(group);
  };
  return {
    windowMs,
    now: () => clock.monotonic(),
    later: (group) => {
      // One timer for all groups: one that starts to gather late in the window is flushed a little early.
      if (waiting.length === 0) after(windowMs, run);
      waiting.push(group);
    },
  };
};
