import { performance } from 'node:perf_hooks';
import { after, every, type Stop } from './clock.ts';
import type { Metrics } from './metrics.ts';

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
/** Interval of an idle process, that of {@link every}: more wake-ups would be most of its CPU time. */
const QUIET_TICK_MS = 100;
/** Utilisation since the last tick above which the process counts as busy. */
const BUSY = 0.1;
const REST = 0.01;

/** Delay of one tick, and the time since the tick before, in ms. */
export interface LoopSample {
  readonly delayMs: number;
  readonly passedMs: number;
}

/** Measures in consecutive windows of `windowMs`; the only measurement of the event loop in a process. */
export const monitorEventLoop = (windowMs: number, metrics: Pick<Metrics, 'gauge' | 'onCollect'>): EventLoopMonitor => {
  const gauge = metrics.gauge('service_event_loop_delay_seconds');
  let samples: LoopSample[] = [];
  let tickedAt = performance.now();
  let tickMs = TICK_MS;
  let atTick = performance.eventLoopUtilization();
  let since = atTick;
  let last: EventLoopDelay = { loopP99Ms: 0, loopUtilisation: 0 };
  let stopTicking: Stop = () => {};
  const tick = (): void => {
    const passedMs = performance.now() - tickedAt;
    samples.push({ delayMs: Math.max(0, passedMs - tickMs), passedMs });
    tickedAt += passedMs;
    const before = atTick;
    atTick = performance.eventLoopUtilization();
    const { utilization } = performance.eventLoopUtilization(atTick, before);
    schedule(utilization > BUSY ? TICK_MS : QUIET_TICK_MS);
  };
  const schedule = (nextMs: number): void => {
    if (nextMs === QUIET_TICK_MS && tickMs === QUIET_TICK_MS) return;
    stopTicking();
    tickMs = nextMs;
    stopTicking = nextMs === QUIET_TICK_MS ? every(nextMs, tick) : after(nextMs, tick);
  };
  schedule(TICK_MS);
  const stop = every(windowMs, () => {
    const now = performance.eventLoopUtilization();
    last = {
      loopP99Ms: Math.round(delayPercentile99(samples) * 10) / 10,
      loopUtilisation: Math.round(performance.eventLoopUtilization(now, since).utilization * 1_000) / 1_000,
    };
    samples = [];
    since = now;
  });
  metrics.onCollect(() => gauge.set({}, last.loopP99Ms / 1_000));
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
export const delayPercentile99 = (samples: readonly LoopSample[]): number => {
  const total = samples.reduce((sum, { passedMs }) => sum + passedMs, 0);
  let passed = 0;
  for (const { delayMs, passedMs } of samples.toSorted((a, b) => b.delayMs - a.delayMs)) {
    passed += passedMs;
    if (passed > total * REST) return delayMs;
  }
  return 0;
};
