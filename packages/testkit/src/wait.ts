import { setTimeout as sleep } from 'node:timers/promises';

const DEFAULT_TIMEOUT_MS = 15_000;
const DEFAULT_INTERVAL_MS = 20;
const SHOWN_CHARACTERS = 500;
/** A look that began in time may still answer. */
const GRACE_MS = 250;

/** How long to wait, for what, and how to know it. */
export interface UntilOptions<T> {
  /** Ends the sentence "waited in vain for …". */
  readonly what: string;
  /** True for the answer that ends the waiting; without it, any truthy one does. */
  readonly ok?: (seen: T) => boolean;
  /** Default 15000: whoever waits longer than usual waits on a busy machine. */
  readonly timeoutMs?: number;
  /** Default 20. */
  readonly intervalMs?: number;
}

/**
 * Looks again and again until what it sees is right, and gives that back. For outcomes of other processes,
 * where nobody tells us. A look that throws counts as "not yet". In vain, the error says what was seen last.
 */
export const until = async <T>(
  look: () => T | Promise<T>,
  { what, ok = Boolean, timeoutMs = DEFAULT_TIMEOUT_MS, intervalMs = DEFAULT_INTERVAL_MS }: UntilOptions<T>,
): Promise<T> => {
  const deadline = performance.now() + timeoutMs;
  let last: unknown;
  for (;;) {
    try {
      const seen = await within(look(), deadline - performance.now());
      if (ok(seen)) return seen;
      last = seen;
    } catch (error) {
      last = error;
    }
    if (performance.now() >= deadline) {
      throw new Error(`waited ${timeoutMs} ms in vain for ${what}; last seen: ${formatValue(last)}`, {
        ...(last instanceof Error && { cause: last }),
      });
    }
    await sleep(intervalMs);
  }
};

/** A look that never answers must not outlast the deadline. */
const within = async <T>(look: T | Promise<T>, ms: number): Promise<T> => {
  const cancel = new AbortController();
  const late = sleep(Math.max(0, ms) + GRACE_MS, undefined, { signal: cancel.signal }).then(() => {
    throw new Error('the last look gave no answer');
  });
  late.catch(() => {});
  try {
    return await Promise.race([look, late]);
  } finally {
    cancel.abort();
  }
};

const formatValue = (value: unknown): string => {
  const text = value instanceof Error ? value.message : (JSON.stringify(value) ?? String(value));
  return text.length > SHOWN_CHARACTERS ? `${text.slice(0, SHOWN_CHARACTERS)}…` : text;
};
