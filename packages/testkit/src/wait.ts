import { setTimeout as sleep } from 'node:timers/promises';

const DEFAULT_TIMEOUT_MS = 5_000;
const DEFAULT_INTERVAL_MS = 20;
const SHOWN_CHARACTERS = 500;

/** How long to wait, and for what. */
export interface UntilOptions {
  /** Ends the sentence "waited in vain for …". */
  readonly what: string;
  /** Default 5000. */
  readonly timeoutMs?: number;
  /** Default 20. */
  readonly intervalMs?: number;
}

/** What a look may answer where truth alone decides. */
type Look<T> = T | undefined | null | false | 0 | '';

/** Both ways to wait: for anything truthy, or for an answer that `ok` accepts. */
interface Until {
  <T>(look: () => T | Promise<T>, options: UntilOptions & { readonly ok: (seen: T) => boolean }): Promise<T>;
  <T>(look: () => Look<T> | Promise<Look<T>>, options: UntilOptions): Promise<T>;
}

/**
 * Looks again and again until the answer is right, and gives it back. For outcomes of other processes, where
 * nobody tells us. A look that throws counts as "not yet". In vain, the error says what the last look saw.
 */
export const until: Until = async <T>(
  look: () => T | Promise<T>,
  options: UntilOptions & { readonly ok?: (seen: T) => boolean },
): Promise<T> => {
  const { what, timeoutMs = DEFAULT_TIMEOUT_MS, intervalMs = DEFAULT_INTERVAL_MS, ok = Boolean } = options;
  const deadline = performance.now() + timeoutMs;
  let last: unknown;
  for (;;) {
    try {
      const seen = await look();
      if (ok(seen)) return seen;
      last = seen;
    } catch (error) {
      last = error;
    }
    if (performance.now() >= deadline) {
      throw new Error(`waited ${timeoutMs} ms in vain for ${what}; last seen: ${show(last)}`, {
        ...(last instanceof Error && { cause: last }),
      });
    }
    await sleep(intervalMs);
  }
};

const show = (value: unknown): string => {
  const text = value instanceof Error ? value.message : (JSON.stringify(value) ?? String(value));
  return text.length > SHOWN_CHARACTERS ? `${text.slice(0, SHOWN_CHARACTERS)}…` : text;
};
