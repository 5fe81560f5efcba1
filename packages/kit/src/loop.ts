import { monitorEventLoopDelay, performance } from 'node:perf_hooks';
import { every } from './clock.ts';

/** How the event loop of this process did in the last window. */
export interface LoopReading {
  /** How late the loop came to its timers, ms; 99 of 100 times it was less. */
  readonly loopP99Ms: number;
  /** Share of the time that it was busy, 0 to 1. */
  readonly loopUtilisation: number;
}

/** Watches the event loop. Reading changes nothing, so anybody may read as often as they like. */
export interface LoopWatch extends Disposable {
  read(): LoopReading;
}

const RESOLUTION_MS = 10;
const NS_PER_MS = 1_000_000;

/** Measures in windows of `windowMs`, back to back; the last whole one counts. */
export const watchLoop = (windowMs: number): LoopWatch => {
  const delays = monitorEventLoopDelay({ resolution: RESOLUTION_MS });
  delays.enable();
  let since = performance.eventLoopUtilization();
  let last: LoopReading = { loopP99Ms: 0, loopUtilisation: 0 };
  const stop = every(windowMs, () => {
    const now = performance.eventLoopUtilization();
    // What it measures includes the pause between two looks.
    const p99Ms = delays.count === 0 ? 0 : delays.percentile(99) / NS_PER_MS - RESOLUTION_MS;
    last = {
      loopP99Ms: Math.max(0, Math.round(p99Ms * 10) / 10),
      loopUtilisation: Math.round(performance.eventLoopUtilization(now, since).utilization * 1_000) / 1_000,
    };
    delays.reset();
    since = now;
  });
  return {
    read: () => last,
    [Symbol.dispose]: () => {
      stop();
      delays.disable();
    },
  };
};
