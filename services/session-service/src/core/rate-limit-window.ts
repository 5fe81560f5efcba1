import type { Clock } from '@muster/kit/clock';

/** The state of a limit after a request. */
export interface Allowance {
  readonly ok: boolean;
  readonly limit: number;
  readonly remaining: number;
  /** Seconds until the window ends, at least 1. */
  readonly resetS: number;
}

interface CounterOptions {
  readonly clock: Clock;
  /** Most requests per key and window; 0 disables the limit. */
  readonly perWindow: number;
  readonly windowMs?: number;
  /** Most keys of one window; beyond it the keys with the lowest counts are dropped. */
  readonly maxKeys?: number;
}

/** Counts requests per key in fixed windows, in this process. All keys share one window, so the map is dropped as a whole. */
export const createWindowCounter = (options: CounterOptions) => {
  const { clock, perWindow, windowMs = 60_000, maxKeys = 200_000 } = options;
  let counts = new Map<string, number>();
  let endsAt = clock.monotonic() + windowMs;

  const current = (): Map<string, number> => {
    const now = clock.monotonic();
    if (now >= endsAt) {
      counts = new Map();
      endsAt = now + windowMs;
    }
    return counts;
  };
  const allowance = (used: number): Allowance => ({
    ok: perWindow === 0 || used <= perWindow,
    limit: perWindow,
    remaining: Math.max(0, perWindow - used),
    resetS: Math.max(1, Math.ceil((endsAt - clock.monotonic()) / 1000)),
  });
  return {
    /** Counts one request. */
    consume: (key: string): Allowance => {
      const map = current();
      const before = map.get(key);
      if (before === undefined && map.size >= maxKeys) dropLeastCounted(map, maxKeys / 2);
      const used = (before ?? 0) + 1;
      map.set(key, used);
      return allowance(used);
    },
    /** The state of the next request, without counting it. */
    peek: (key: string): Allowance => allowance((current().get(key) ?? 0) + 1),
  };
};

/**
 * Keeps `most` keys, those with the highest counts: many new keys cannot reset a key that is at its limit. Half of the
 * map is dropped at once, so that the cost per key is constant.
 */
const dropLeastCounted = (map: Map<string, number>, most: number): void => {
  const descending = [...map.values()].sort((one, other) => other - one);
  const least = descending[Math.floor(most)] ?? 0;
  let surplus = map.size - most;
  for (const [key, count] of map) {
    if (surplus <= 0) return;
    if (count > least) continue;
    map.delete(key);
    surplus -= 1;
  }
};
