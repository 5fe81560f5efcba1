import type { Touch } from '@muster/session/activity';
import type { Queryable } from '../pool.ts';

/**
 * Rows that somebody else holds are skipped: an end or a rotation is activity enough, and nobody waits for a touch.
 * The ids come sorted, so that overlapping batches lock in one order.
 */
const TOUCH = `UPDATE sessions s SET last_seen_at = v.at
FROM (SELECT l.id, greatest(l.last_seen_at, to_timestamp(t.ms / 1000.0)) AS at
      FROM unnest($1::uuid[], $2::float8[]) AS t(id, ms)
      JOIN LATERAL (SELECT id, last_seen_at FROM sessions WHERE id = t.id AND ended_at IS NULL
                    FOR NO KEY UPDATE SKIP LOCKED) l ON true) v
WHERE s.id = v.id`;

/** Moves `last_seen_at` of live sessions forward; never back, and never of ended ones. */
export const touchSessions = async (db: Queryable, touches: readonly Touch[]): Promise<void> => {
  const sorted = touches.toSorted((one, other) => (one.id < other.id ? -1 : 1));
  await db.write('touch_sessions', TOUCH, [sorted.map(({ id }) => id), sorted.map(({ at }) => at)]);
};
