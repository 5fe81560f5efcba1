import { sleep } from '@muster/kit/clock';
import type { Logger } from '@muster/kit/logger';

/** Brings the schema up to date, now or as soon as the database answers. */
export interface SchemaMigration extends AsyncDisposable {
  isReady(): boolean;
  /** Why the last attempt failed. */
  lastError(): unknown;
}

const FIRST_PAUSE_MS = 500;
const LONGEST_PAUSE_MS = 5000;

/**
 * Tries at once and waits for that one try; while the database is away it goes on trying in the background, so
 * that a service which starts before its database heals by itself.
 */
export const startSchemaMigration = async (
  migrate: () => Promise<unknown>,
  log: Logger,
): Promise<SchemaMigration> => {
  const stopping = new AbortController();
  let ready = false;
  let fault: unknown = new Error('the schema is not up to date');
  const attempt = async (): Promise<boolean> => {
    try {
      await migrate();
      ready = true;
    } catch (error) {
      fault = error;
      log.warn({ error }, 'database.migration_failed');
    }
    return ready;
  };
  const goOn = async (): Promise<void> => {
    let pause = FIRST_PAUSE_MS;
    while (!stopping.signal.aborted) {
      await sleep(pause, stopping.signal);
      if (stopping.signal.aborted || (await attempt())) return;
      pause = Math.min(pause * 2, LONGEST_PAUSE_MS);
    }
  };
  const background = (await attempt()) ? Promise.resolve() : goOn();
  return {
    isReady: () => ready,
    lastError: () => fault,
    [Symbol.asyncDispose]: () => {
      stopping.abort();
      return background;
    },
  };
};
