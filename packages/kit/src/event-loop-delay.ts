import { performance } from 'node:perf_hooks';
import { every } from './clock.ts';

/** Event loop measurements of the last complete window. */
export interface EventLoopDelay {
  /** 99th percentile of the delay in ms, weighted by time. */
  readonly loopP99Ms: number;
  /** Share of the time that the loop was busy, 0 to 1. */
  readonly loopUtilisation: number;
}

/** A running measurement of the event loop. Reading has no side effect. */
export interface EventLoopMonitor extends Disposable {
  read(): EventLoopDelay;
}

const TICK_MS = 20;
const REST = 0.01;

/** Measures in consecutive windows of `windowMs`. */
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
 * The delay that is exceeded for one percent of the time. Weighted by duration, not by count: a loop that blocks for 400 ms per
 * second delays two fifths of all requests, but only one of forty samples.
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
