import { setTimeout as sleep } from 'node:timers/promises';

const DEFAULT_TIMEOUT_MS = 15_000;
const DEFAULT_INTERVAL_MS = 20;
const SHOWN_CHARACTERS = 500;
/** Extra time for a probe that started before the deadline. */
const GRACE_MS = 250;

/** Condition and limits of {@link until}. */
export interface UntilOptions<T> {
  /** Completes the sentence "timed out after 15000 ms waiting for …". */
  readonly what: string;
  /** True for the value that ends the wait. Default: any truthy value. */
  readonly ok?: (seen: T) => boolean;
  /** Default 15000, long enough for a busy machine. */
  readonly timeoutMs?: number;
  /** Default 20. */
  readonly intervalMs?: number;
}

/**
 * Polls `probe` until its value is accepted, and resolves with that value. A rejection counts as not accepted. After the
 * timeout the error contains the last value.
 */
export const until = async <T>(
  probe: () => T | Promise<T>,
  { what, ok = Boolean, timeoutMs = DEFAULT_TIMEOUT_MS, intervalMs = DEFAULT_INTERVAL_MS }: UntilOptions<T>,
): Promise<T> => {
  const deadline = performance.now() + timeoutMs;
  let last: unknown;
  for (;;) {
    try {
      const seen = await within(probe(), deadline - performance.now());
      if (ok(seen)) return seen;
      last = seen;
    } catch (error) {
      last = error;
    }
    if (performance.now() >= deadline) {
      throw new Error(`timed out after ${timeoutMs} ms waiting for ${what}; last value: ${formatValue(last)}`, {
        ...(last instanceof Error && { cause: last }),
      });
    }
    await sleep(intervalMs);
  }
};

/** Limits a probe that never settles to the deadline. */
const within = async <T>(probe: T | Promise<T>, ms: number): Promise<T> => {
  const cancel = new AbortController();
  const late = sleep(Math.max(0, ms) + GRACE_MS, undefined, { signal: cancel.signal }).then(() => {
    throw new Error('the last probe did not settle');
  });
  late.catch(() => {});
  try {
    return await Promise.race([probe, late]);
  } finally {
    cancel.abort();
  }
};

const formatValue = (value: unknown): string => {
  const text = value instanceof Error ? value.message : (JSON.stringify(value) ?? String(value));
  return text.length > SHOWN_CHARACTERS ? `${text.slice(0, SHOWN_CHARACTERS)}…` : text;
};
