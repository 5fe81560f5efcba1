import type { Clock } from '@muster/kit/clock';
import type { RedisConnections } from '@muster/kit/redis/connection';
import type { SessionId } from './token.ts';

/** An activity of a session that Postgres does not know of yet. */
export interface Touch {
  readonly id: SessionId;
  /** Ms since the epoch. */
  readonly at: number;
}

/** The activities of all sessions on their way to Postgres: sorted sets in Redis, the newest instant wins. */
export interface TouchBuffer {
  add(touches: readonly Touch[]): Promise<void>;
  /** Takes out up to `limit` per set, the oldest first. */
  take(limit: number): Promise<Touch[]>;
  /** The instants that wait for these sessions; undefined where none does. */
  pending(ids: readonly SessionId[]): Promise<(number | undefined)[]>;
  /** How many wait. */
  size(): Promise<number>;
}

/** The number of sets; each is one slot of a Redis Cluster. */
const SETS = 16;

/** The buffer under `<prefix>touch:{0}` … `{15}`. */
export const createTouchBuffer = ({ redis }: { redis: RedisConnections }): TouchBuffer => {
  const keys = Array.from({ length: SETS }, (_, at) => `${redis.prefix}touch:{${at}}`);
  const keyOf = (id: SessionId): string => keys[Number.parseInt(id.slice(0, 1), 16)] ?? '';
  return {
    add: async (touches) => {
      const bySet = Map.groupBy(touches, ({ id }) => keyOf(id));
      await redis.retry((lane) =>
        Promise.all(
          [...bySet].map(([key, ofSet]) => lane.zadd(key, 'GT', ...ofSet.flatMap(({ id, at }) => [at, id]))),
        ),
      );
    },
    take: async (limit) => {
      // Not retried: a pop whose answer was lost must not take a second batch. Losing one costs one interval.
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

/** Time between two touches of one session, in ms: a tenth of its idle limit, at most a minute. */
export const touchIntervalMs = (idleSeconds: number): number => Math.min(60_000, idleSeconds * 100);

/** Lets one activity of a session through per interval, however many there are. */
export interface TouchThrottle {
  /** True if this activity is worth telling; sessions that are never idle never are. */
  admits(session: { readonly id: SessionId; readonly idleSeconds: number }): boolean;
}

const MAX_REMEMBERED = 100_000;

/** Remembers when each session was last told, for at most 100,000 sessions. */
export const createTouchThrottle = ({ clock }: { clock: Clock }): TouchThrottle => {
  const nextAt = new Map<SessionId, number>();
  return {
    admits: ({ id, idleSeconds }) => {
      if (idleSeconds === 0) return false;
      const now = clock.monotonic();
      const due = nextAt.get(id);
      if (due !== undefined && now < due) return false;
      // The map is in order of insertion: what was told longest ago is forgotten first.
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
