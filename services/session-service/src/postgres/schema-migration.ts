import { sleep } from '@muster/kit/clock';
import type { Logger } from '@muster/kit/logger';

export type SchemaMigration = Awaited<ReturnType<typeof startSchemaMigration>>;

const FIRST_PAUSE_MS = 500;
const LONGEST_PAUSE_MS = 5000;

/**
 * Resolves after the first attempt; on failure it retries in the background with a pause of 0.5 to 5 s, so that a
 * service which starts before its database recovers without a restart.
 */
export const startSchemaMigration = async (migrate: () => Promise<unknown>, log: Logger) => {
  const stopping = new AbortController();
  let isReady = false;
  let lastError: unknown = new Error('the schema has pending migrations');
  const attempt = async (): Promise<boolean> => {
    try {
      await migrate();
      isReady = true;
    } catch (error) {
      lastError = error;
      log.warn({ error }, 'database.migration_failed');
    }
    return isReady;
  };
  const retry = async (): Promise<void> => {
    let pause = FIRST_PAUSE_MS;
    while (!stopping.signal.aborted) {
      await sleep(pause, stopping.signal);
      if (stopping.signal.aborted || (await attempt())) return;
      pause = Math.min(pause * 2, LONGEST_PAUSE_MS);
    }
  };
  const background = (await attempt()) ? Promise.resolve() : retry();
  return {
    isReady: (): boolean => isReady,
    /** The error of the last attempt. */
    lastError: (): unknown => lastError,
    [Symbol.asyncDispose]: (): Promise<void> => {
      stopping.abort();
      return background;
    },
  };
};
