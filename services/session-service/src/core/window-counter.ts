import type { Clock } from '@muster/kit/clock';

/** What is left of an allowance. */
export interface Allowance {
  readonly ok: boolean;
  readonly limit: number;
  readonly remaining: number;
  /** Seconds until it is whole again, at least 1. */
  readonly resetS: number;
}

/** Counts per key in windows of a fixed length, in this process alone. */
export interface WindowCounter {
  /** Takes one, and says whether it was there. */
  consume(key: string): Allowance;
  /** Looks without taking. */
  peek(key: string): Allowance;
}

interface CounterOptions {
  readonly clock: Clock;
  /** 0 switches the limit off. */
  readonly perWindow: number;
  readonly windowMs?: number;
  /** Keys remembered in one window; beyond it the keys that were counted least are forgotten. */
  readonly maxKeys?: number;
}

/** All keys share the beginnings of their windows: one map, thrown away as a whole. */
export const createWindowCounter = (options: CounterOptions): WindowCounter => {
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
    consume: (key) => {
      const map = current();
      const before = map.get(key);
      if (before === undefined && map.size >= maxKeys) forgetLeastCounted(map, maxKeys / 2);
      const used = (before ?? 0) + 1;
      map.set(key, used);
      return allowance(used);
    },
    peek: (key) => allowance((current().get(key) ?? 0) + 1),
  };
};

/**
 * Leaves `most` keys, those with the highest counts: a flood of new keys cannot free the ones that are at their limit.
 * Half of the map goes at once, so that the cost per key stays constant.
 */
const forgetLeastCounted = (map: Map<string, number>, most: number): void => {
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
