import type { GroupKey } from '@muster/bus/group-key';
import type { Clock } from '@muster/kit/clock';
import type { Rate } from '../ports.ts';

/** Consecutive rejections after which a client is closed. */
export const MAX_REJECTIONS = 500;

export class TokenBucket {
  #tokens: number;
  #filledAt: number;
  /** Rejections since the last token was taken. */
  rejections = 0;

  constructor(rate: Rate, now: number) {
    this.#tokens = rate.burst;
    this.#filledAt = now;
  }

  /** Takes `cost` tokens; false when there are fewer. `now` in monotonic ms. */
  take({ perSecond, burst }: Rate, now: number, cost = 1): boolean {
    if (perSecond === 0) return true;
    this.#tokens = Math.min(burst, this.#tokens + ((now - this.#filledAt) / 1000) * perSecond);
    this.#filledAt = now;
    if (this.#tokens < cost) {
      this.rejections += 1;
      return false;
    }
    this.#tokens -= cost;
    this.rejections = 0;
    return true;
  }
}

/** Buckets kept; the least recently used one is dropped, and starts full when it is needed again. */
const MAX_GROUPS = 10_000;

/** Limits client publications per group on this gateway; the burst is twice the rate. */
export const createGroupRates = (clock: Clock) => {
  const buckets = new Map<GroupKey, TokenBucket>();
  return {
    /** False when the group's rate is exceeded. `perSecond` 0: unlimited. */
    take: (group: GroupKey, perSecond: number): boolean => {
      if (perSecond === 0) return true;
      const rate = { perSecond, burst: perSecond * 2 };
      const now = clock.monotonic();
      const bucket = buckets.get(group) ?? new TokenBucket(rate, now);
      buckets.delete(group);
      buckets.set(group, bucket);
      const [oldest] = buckets.keys();
      if (buckets.size > MAX_GROUPS && oldest !== undefined) buckets.delete(oldest);
      return bucket.take(rate, now);
    },
  };
};

export type GroupRates = ReturnType<typeof createGroupRates>;
