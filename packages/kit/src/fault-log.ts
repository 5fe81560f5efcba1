import type { LogEvent } from '@muster/telemetry/log-events';
import type { Logger } from './logger.ts';

/** Log of a fault that may last and fail many attempts. */
export interface FaultLog {
  /** Records a failed attempt: one line for the first, then one every ten minutes. */
  failed(fields?: object): void;
  /** Records the end: one line if the fault was logged. */
  recovered(): void;
}

const REMIND_MS = 600_000;

/** Logs start and end of a fault instead of its repetitions: `event` as a warning, `overEvent` as info. */
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
