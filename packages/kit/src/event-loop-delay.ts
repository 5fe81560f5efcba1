import { performance } from 'node:perf_hooks';
import { every } from './clock.ts';

/** How the event loop of this process did in the last window. */
export interface EventLoopDelay {
  /** How late the loop came to its work, ms: at 99 of 100 moments it would have been less. */
  readonly loopP99Ms: number;
  /** Share of the time that it was busy, 0 to 1. */
  readonly loopUtilisation: number;
}

/** Watches the event loop. Reading changes nothing, so anybody may read as often as they like. */
export interface EventLoopMonitor extends Disposable {
  read(): EventLoopDelay;
}

const TICK_MS = 20;
const REST = 0.01;

/** Measures in windows of `windowMs`, back to back; the last whole one counts. */
export const monitorEventLoop = (windowMs: number): EventLoopMonitor => {
  let delays: number[] = [];
  let tickedAt = performance.now();
  let since = performance.eventLoopUtilization();
  let last: EventLoopDelay = { loopP99Ms: 0, loopUtilisation: 0 };
  const tick = (): void => {
    const now = performance.now();
    delays.push(Math.max(0, now - tickedAt - TICK_MS));
    tickedAt = now;
  };
  const stopTicking = every(TICK_MS, tick);
  const stop = every(windowMs, () => {
    const now = performance.eventLoopUtilization();
    last = {
      loopP99Ms: Math.round(delayPercentile99(delays) * 10) / 10,
      loopUtilisation: Math.round(performance.eventLoopUtilization(now, since).utilization * 1_000) / 1_000,
    };
    delays = [];
    since = now;
  });
  return {
    read: () => last,
    [Symbol.dispose]: () => {
      stopTicking();
      stop();
    },
  };
};

/**
 * The delay that is exceeded in one percent of the time. Weighed by time, not by count: a loop that stands still for 400 ms each second
 * is late for two fifths of all who come, yet only one look in forty finds it so.
 */
export const delayPercentile99 = (delays: readonly number[]): number => {
  const total = delays.reduce((sum, delay) => sum + delay + TICK_MS, 0);
  let passed = 0;
  for (const delay of delays.toSorted((a, b) => b - a)) {
    passed += delay + TICK_MS;
    if (passed > total * REST) return delay;
  }
  return 0;
};
