import type { Touch } from '@muster/session/activity';
import type { SessionId } from '@muster/session/token';
import type { AddressStore } from '../../core/address-rewrite.ts';
import type { SweepStore } from '../../core/expiry-sweeper.ts';
import type { Queryable } from '../pool.ts';

/** Two flush intervals: pending activity must not cost a session its life. In SQL, for a row of `sessions`. */
const SLACK = `make_interval(secs => 2 * least(60, idle_seconds / 10.0))`;
const SILENT_SINCE = `last_seen_at + make_interval(secs => idle_seconds) + ${SLACK}`;

const RESCHEDULE = `UPDATE sessions SET idle_check_at = ${SILENT_SINCE}
WHERE id IN (SELECT id FROM sessions WHERE ended_at IS NULL AND idle_check_at <= now() AND ${SILENT_SINCE} > now()
             ORDER BY id LIMIT $1 FOR NO KEY UPDATE SKIP LOCKED)
RETURNING id`;
const IDLE = `SELECT id FROM sessions
WHERE ended_at IS NULL AND idle_seconds > 0 AND idle_check_at <= now() AND ${SILENT_SINCE} <= now() ORDER BY idle_check_at LIMIT $1`;
const EXPIRED = `SELECT id FROM sessions
WHERE ended_at IS NULL AND expires_at <= now() ORDER BY expires_at LIMIT $1`;
const ORPHANED = `SELECT s.id FROM sessions s LEFT JOIN sessions a ON a.id = s.actor_session
WHERE s.ended_at IS NULL AND s.actor_session IS NOT NULL AND (a.id IS NULL OR a.ended_at IS NOT NULL) LIMIT $1`;
/**
 * Locked rows are skipped: an end or a rotation is activity by itself, and nothing waits for this statement.
 * The ids come sorted, so that overlapping batches lock in one order.
 */
const TOUCH = `UPDATE sessions s SET last_seen_at = v.at
FROM (SELECT l.id, greatest(l.last_seen_at, to_timestamp(t.ms / 1000.0)) AS at
      FROM unnest($1::uuid[], $2::float8[]) AS t(id, ms)
      JOIN LATERAL (SELECT id, last_seen_at FROM sessions WHERE id = t.id AND ended_at IS NULL
                    FOR NO KEY UPDATE SKIP LOCKED) l ON true) v
WHERE s.id = v.id`;
const DELETE_ENDED_GUESTS = `DELETE FROM sessions WHERE id IN (
  SELECT id FROM sessions WHERE ended_at < now() - make_interval(hours => $1) AND user_id IS NULL
  ORDER BY ended_at LIMIT $2 FOR UPDATE SKIP LOCKED) RETURNING id`;
const DELETE_ENDED = `DELETE FROM sessions WHERE id IN (
  SELECT id FROM sessions WHERE ended_at < now() - make_interval(days => $1)
  ORDER BY ended_at LIMIT $2 FOR UPDATE SKIP LOCKED) RETURNING id`;
const DELETE_KEYS = `DELETE FROM idempotency_keys WHERE created_at < now() - interval '24 hours'`;
const MAKE_PARTITIONS = 'SELECT ensure_session_event_partitions(2)';
const DROP_PARTITIONS = 'SELECT drop_session_event_partitions($1) AS dropped';
/** One replica counts, the others skip: the advisory lock is released when the statement ends. */
const COUNT_ACTIVE = `SELECT count(*)::int AS active FROM sessions
  WHERE ended_at IS NULL AND (SELECT pg_try_advisory_xact_lock(hashtext('session.census')))`;

/** Statements of the sweeper. */
export const sweepQueries = (db: Queryable): SweepStore => {
  const findIds = async (name: string, text: string, limit: number): Promise<SessionId[]> =>
    (await db.query<{ id: SessionId }>(name, text, [limit])).map(({ id }) => id);
  return {
    rescheduleActive: async (limit) => (await db.query('rearm_sessions', RESCHEDULE, [limit])).length,
    findIdle: (limit) => findIds('find_idle_sessions', IDLE, limit),
    findExpired: (limit) => findIds('find_expired_sessions', EXPIRED, limit),
    findOrphaned: (limit) => findIds('find_orphaned_sessions', ORPHANED, limit),
    touch: (touches) => touchSessions(db, touches),
    deleteEnded: async ({ endedDays, guestHours }, limit) => {
      const guests = await db.query('delete_ended_guests', DELETE_ENDED_GUESTS, [guestHours, limit]);
      const users = await db.query('delete_ended_sessions', DELETE_ENDED, [endedDays, limit]);
      return guests.length + users.length;
    },
    countActive: async () =>
      (await db.query<{ active: number }>('count_active_sessions', COUNT_ACTIVE))[0]?.active ?? 0,
    runHousekeeping: async (eventDays) => {
      await db.query('make_event_partitions', MAKE_PARTITIONS);
      await db.query('delete_idempotency_keys', DELETE_KEYS);
      const [row] = await db.query<{ dropped: number }>('drop_event_partitions', DROP_PARTITIONS, [eventDays]);
      return row?.dropped ?? 0;
    },
  };
};

/** Moves `last_seen_at` of live sessions forward; never back, and never of ended sessions. */
export const touchSessions = async (db: Queryable, touches: readonly Touch[]): Promise<void> => {
  const sorted = touches.toSorted((one, other) => (one.id < other.id ? -1 : 1));
  await db.write('touch_sessions', TOUCH, [sorted.map(({ id }) => id), sorted.map(({ at }) => at)]);
};

/** `$2` bounds the work: beyond the limit the exact number does not matter. */
const COUNT_GUESTS = `SELECT count(*)::int AS guests FROM (
  SELECT 1 FROM sessions WHERE tenant_id = $1 AND user_id IS NULL AND ended_at IS NULL LIMIT $2) AS live`;

/** Live guest sessions of a tenant, at most `max`. */
export const countGuests = async (db: Queryable, tenant: string, max: number): Promise<number> =>
  (await db.query<{ guests: number }>('count_guests', COUNT_GUESTS, [tenant, max]))[0]?.guests ?? 0;

const SESSION_ADDRESSES = `SELECT id, created_ip::text AS ip, last_ip::text AS "lastIp" FROM sessions
  WHERE ($1::uuid IS NULL OR id > $1::uuid) ORDER BY id LIMIT $2`;
const EVENT_ADDRESSES = `SELECT id::text, at::text, ip::text AS ip FROM session_events
  WHERE id > $1::bigint AND ip IS NOT NULL ORDER BY session_events.id LIMIT $2`;
const REWRITE_SESSIONS = `UPDATE sessions s SET created_ip = v.ip, last_ip = v.last_ip
  FROM unnest($1::uuid[], $2::inet[], $3::inet[]) AS v(id, ip, last_ip)
  WHERE s.id = v.id AND s.id IN (SELECT id FROM sessions WHERE id = ANY($1) FOR NO KEY UPDATE SKIP LOCKED)
  RETURNING s.id`;
const REWRITE_EVENTS = `UPDATE session_events e SET ip = v.ip
  FROM unnest($1::bigint[], $2::timestamptz[], $3::inet[]) AS v(id, at, ip)
  WHERE e.id = v.id AND e.at = v.at
    AND e.id IN (SELECT id FROM session_events WHERE id = ANY($1) FOR NO KEY UPDATE SKIP LOCKED)
  RETURNING e.id`;

/** Statements of the job that anonymizes stored addresses. */
export const addressQueries = (db: Queryable): AddressStore => ({
  sessionsAfter: (id, limit) => db.query('addresses_of_sessions', SESSION_ADDRESSES, [id ?? null, limit]),
  eventsAfter: (id, limit) => db.query('addresses_of_events', EVENT_ADDRESSES, [id, limit]),
  rewriteSessions: async (rows) => {
    const values = [rows.map(({ id }) => id), rows.map(({ ip }) => ip), rows.map(({ lastIp }) => lastIp)];
    const done = await db.query<{ id: SessionId }>('rewrite_session_addresses', REWRITE_SESSIONS, values);
    return done.map(({ id }) => id);
  },
  rewriteEvents: async (rows) => {
    const values = [rows.map(({ id }) => id), rows.map(({ at }) => at), rows.map(({ ip }) => ip)];
    return (await db.query('rewrite_event_addresses', REWRITE_EVENTS, values)).length;
  },
});
