import type { Clock } from '@muster/kit/clock';
import type { RedisConnections } from '@muster/kit/redis/connection';
import type { SessionId } from './token.ts';

/** Activity of a session that is not yet in Postgres. */
export interface Touch {
  readonly id: SessionId;
  /** Ms since the epoch. */
  readonly at: number;
}

/** Buffer of activities between all processes and Postgres: sorted sets in Redis in which the newest instant wins. */
export interface TouchBuffer {
  add(touches: readonly Touch[]): Promise<void>;
  /** Removes and returns up to `limit` per set, oldest first. */
  take(limit: number): Promise<Touch[]>;
  /** Buffered instants of these sessions; undefined where there is none. */
  pending(ids: readonly SessionId[]): Promise<(number | undefined)[]>;
  /** Number of buffered activities. */
  size(): Promise<number>;
}

/** Number of sets; each is one slot of a Redis Cluster. */
const SETS = 16;

/** Buffer under the keys `<prefix>touch:{0}` … `{15}`. */
export const createTouchBuffer = ({ redis }: { redis: RedisConnections }): TouchBuffer => {
  const keys = Array.from({ length: SETS }, (_, at) => `${redis.prefix}touch:{${at}}`);
  const keyOf = (id: SessionId): string => keys[Number.parseInt(id.slice(0, 1), 16)] ?? '';
  return {
    add: async (touches) => {
      const bySet = Map.groupBy(touches, ({ id }) => keyOf(id));
      await redis.retry((lane) =>
        Promise.all([...bySet].map(([key, ofSet]) => lane.zadd(key, 'GT', ...ofSet.flatMap(({ id, at }) => [at, id])))),
      );
    },
    take: async (limit) => {
      // Not retried: a pop whose response was lost must not remove a second batch. A lost batch costs one interval.
      const lane = redis.lane();
      const taken = await Promise.all(keys.map((key) => lane.zpopmin(key, limit)));
      return taken.flatMap(pairs);
    },
    pending: async (ids) => {
      const scores = await redis.retry((lane) => Promise.all(ids.map((id) => lane.zscore(keyOf(id), id))));
      return scores.map((score) => (score === null ? undefined : Number(score)));
    },
    size: async () => {
      const counts = await redis.retry((lane) => Promise.all(keys.map((key) => lane.zcard(key))));
      return counts.reduce((sum, count) => sum + count, 0);
    },
  };
};

const pairs = (flat: readonly string[]): Touch[] =>
  Array.from({ length: flat.length / 2 }, (_, at) => ({
    id: flat[at * 2] as SessionId,
    at: Number(flat[at * 2 + 1]),
  }));

/** Interval between two touches of a session, in ms: a tenth of its idle limit, at most a minute. */
export const touchIntervalMs = (idleSeconds: number): number => Math.min(60_000, idleSeconds * 100);

/** Admits one activity per session and interval. */
export interface TouchThrottle {
  /** True if this activity must be recorded; never for a session without an idle limit. */
  admits(session: { readonly id: SessionId; readonly idleSeconds: number }): boolean;
}

const MAX_REMEMBERED = 100_000;

/** Keeps the last touch of at most 100,000 sessions. */
export const createTouchThrottle = ({ clock }: { clock: Clock }): TouchThrottle => {
  const nextAt = new Map<SessionId, number>();
  return {
    admits: ({ id, idleSeconds }) => {
      if (idleSeconds === 0) return false;
      const now = clock.monotonic();
      const due = nextAt.get(id);
      if (due !== undefined && now < due) return false;
      // The map is in insertion order, so the oldest touch is evicted first.
      nextAt.delete(id);
      if (nextAt.size >= MAX_REMEMBERED) forgetOldest(nextAt);
      nextAt.set(id, now + touchIntervalMs(idleSeconds));
      return true;
    },
  };
};

const forgetOldest = (map: Map<SessionId, number>): void => {
  const oldest = map.keys().next();
  if (!oldest.done) map.delete(oldest.value);
};
