import type { LogEvent } from '@muster/telemetry/log-events';
import type { Logger } from './logger.ts';

/** A refused request or connection. */
export interface Refusal {
  /** Code of a closed set; lines are sampled by it. */
  readonly reason: string;
  readonly [field: string]: unknown;
}

/** Writes a line for each refusal. */
export type RefusalLog = (event: LogEvent<'info'>, refusal: Refusal) => void;

/** Lines per reason and second, so that an attack does not fill the disk. */
const LINES_PER_SECOND = 20;

interface Window {
  second: number;
  written: number;
  leftOut: number;
}

/** One `info` line per refusal; above twenty per reason and second they are counted in `leftOut` of the next line. */
export const createRefusalLog = (log: Logger, monotonic = (): number => performance.now()): RefusalLog => {
  const windows = new Map<string, Window>();
  return (event, refusal) => {
    const second = Math.floor(monotonic() / 1_000);
    const window = windows.get(refusal.reason) ?? { second, written: 0, leftOut: 0 };
    windows.set(refusal.reason, window);
    if (window.second !== second) {
      window.second = second;
      window.written = 0;
    }
    if (window.written >= LINES_PER_SECOND) {
      window.leftOut += 1;
      return;
    }
    window.written += 1;
    log.info(window.leftOut === 0 ? refusal : { ...refusal, leftOut: window.leftOut }, event);
    window.leftOut = 0;
  };
};
