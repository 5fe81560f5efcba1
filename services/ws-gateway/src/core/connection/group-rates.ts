import type { GroupKey } from '@muster/bus/group-key';
import type { Clock } from '@muster/kit/clock';
import { TokenBucket } from './rate-limit.ts';

/** How many publications clients may make in each group. */
export interface GroupRates {
  /** False when this group has had its share for now. `perSecond` is 0 for no limit. */
  take(group: GroupKey, perSecond: number): boolean;
}

/** Groups remembered. The one unused for longest is forgotten first, and then has a full share again. */
const MAX_GROUPS = 10_000;

/** A rate per group on this gateway, twice as many in a burst. */
export const createGroupRates = (clock: Clock): GroupRates => {
  const buckets = new Map<GroupKey, TokenBucket>();
  return {
    take: (group, perSecond) => {
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
