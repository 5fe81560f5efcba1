import type { LogEvent } from '@muster/telemetry/log-events';
import type { Logger } from './logger.ts';

/** A fault that may last: what is tried meanwhile fails again and again. */
export interface FaultLog {
  /** The fault is there: a line when it begins, and one every ten minutes while it lasts. */
  failed(fields?: object): void;
  /** It is over: one line, if one was written about the fault. */
  recovered(): void;
}

const REMIND_MS = 600_000;

/** Logs the changes of a fault instead of its repetitions. `event` is a warning, `overEvent` an info. */
export const createFaultLog = (
  log: Logger,
  { event, overEvent }: { readonly event: LogEvent<'warn'>; readonly overEvent: LogEvent<'info'> },
  monotonic = (): number => performance.now(),
): FaultLog => {
  let loggedAt: number | undefined;
  let repeated = 0;
  return {
    failed: (fields = {}) => {
      if (loggedAt !== undefined && monotonic() - loggedAt < REMIND_MS) {
        repeated += 1;
        return;
      }
      log.warn(repeated === 0 ? fields : { ...fields, repeated }, event);
      loggedAt = monotonic();
      repeated = 0;
    },
    recovered: () => {
      if (loggedAt === undefined) return;
      log.info(repeated === 0 ? {} : { repeated }, overEvent);
      loggedAt = undefined;
      repeated = 0;
    },
  };
};
