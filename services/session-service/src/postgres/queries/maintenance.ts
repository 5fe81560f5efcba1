import type { SessionId } from '@muster/session/token';
import type { SessionRetention } from '../../core/expiry-sweeper.ts';
import type { Queryable } from '../pool.ts';

/** Two touch intervals: what is still on its way must not cost a session its life. In SQL, for a row of `sessions`. */
const SLACK = `make_interval(secs => 2 * least(60, idle_seconds / 10.0))`;
const SILENT_SINCE = `last_seen_at + make_interval(secs => idle_seconds) + ${SLACK}`;

const REARM = `UPDATE sessions SET idle_check_at = ${SILENT_SINCE}
WHERE id IN (SELECT id FROM sessions WHERE ended_at IS NULL AND idle_check_at <= now() AND ${SILENT_SINCE} > now()
             ORDER BY id LIMIT $1 FOR NO KEY UPDATE SKIP LOCKED)
RETURNING id`;
const IDLE = `SELECT id FROM sessions
WHERE ended_at IS NULL AND idle_seconds > 0 AND idle_check_at <= now() AND ${SILENT_SINCE} <= now() ORDER BY idle_check_at LIMIT $1`;
const EXPIRED = `SELECT id FROM sessions
WHERE ended_at IS NULL AND expires_at <= now() ORDER BY expires_at LIMIT $1`;

const idsOf = (rows: readonly { id: SessionId }[]): SessionId[] => rows.map(({ id }) => id);

/** Sets the next look at sessions that turned out to be active. */
export const rearmActive = async (db: Queryable, limit: number): Promise<number> =>
  (await db.query('rearm_sessions', REARM, [limit])).length;

/** Sessions that have been silent for longer than they may, slack included. */
export const findIdle = async (db: Queryable, limit: number): Promise<SessionId[]> =>
  idsOf(await db.query<{ id: SessionId }>('find_idle_sessions', IDLE, [limit]));

/** Sessions whose time is over. */
export const findExpired = async (db: Queryable, limit: number): Promise<SessionId[]> =>
  idsOf(await db.query<{ id: SessionId }>('find_expired_sessions', EXPIRED, [limit]));

const ORPHANED = `SELECT s.id FROM sessions s LEFT JOIN sessions a ON a.id = s.actor_session
WHERE s.ended_at IS NULL AND s.actor_session IS NOT NULL AND (a.id IS NULL OR a.ended_at IS NOT NULL) LIMIT $1`;

/** Impersonations whose actor's session is over. */
export const findOrphaned = async (db: Queryable, limit: number): Promise<SessionId[]> =>
  idsOf(await db.query<{ id: SessionId }>('find_orphaned_sessions', ORPHANED, [limit]));

const DELETE_ENDED = `DELETE FROM sessions WHERE id IN (
  SELECT id FROM sessions WHERE ended_at < now() - make_interval(days => $1)
  ORDER BY ended_at LIMIT $2 FOR UPDATE SKIP LOCKED) RETURNING id`;
const DELETE_KEYS = `DELETE FROM idempotency_keys WHERE created_at < now() - interval '24 hours'`;
const MAKE_PARTITIONS = 'SELECT ensure_session_event_partitions(2)';
const DROP_PARTITIONS = 'SELECT drop_session_event_partitions($1) AS dropped';

const DELETE_ENDED_GUESTS = `DELETE FROM sessions WHERE id IN (
  SELECT id FROM sessions WHERE ended_at < now() - make_interval(hours => $1) AND user_id IS NULL
  ORDER BY ended_at LIMIT $2 FOR UPDATE SKIP LOCKED) RETURNING id`;

/** Deletes at most `limit` sessions of users and of guests whose retention is over; resolves with their number. */
export const deleteEnded = async (
  db: Queryable,
  { endedDays, guestHours }: SessionRetention,
  limit: number,
): Promise<number> => {
  const guests = await db.query('delete_ended_guests', DELETE_ENDED_GUESTS, [guestHours, limit]);
  return guests.length + (await db.query('delete_ended_sessions', DELETE_ENDED, [endedDays, limit])).length;
};

/** `$2` bounds the work: beyond the ceiling the exact number does not matter. */
const COUNT_GUESTS = `SELECT count(*)::int AS guests FROM (
  SELECT 1 FROM sessions WHERE tenant_id = $1 AND user_id IS NULL AND ended_at IS NULL LIMIT $2) AS live`;

/** Live guest sessions of a tenant, at most `most`. */
export const countGuests = async (db: Queryable, tenant: string, most: number): Promise<number> =>
  (await db.query<{ guests: number }>('count_guests', COUNT_GUESTS, [tenant, most]))[0]?.guests ?? 0;

/** Daily housekeeping: partitions of the log book, and used idempotency keys. */
export const keepHouse = async (db: Queryable, eventDays: number): Promise<number> => {
  await db.query('make_event_partitions', MAKE_PARTITIONS);
  await db.query('delete_idempotency_keys', DELETE_KEYS);
  const [row] = await db.query<{ dropped: number }>('drop_event_partitions', DROP_PARTITIONS, [eventDays]);
  return row?.dropped ?? 0;
};

/** One replica counts, the others skip: the lock is free again when the statement ends. */
const CENSUS = `SELECT count(*)::int AS active FROM sessions
  WHERE ended_at IS NULL AND (SELECT pg_try_advisory_xact_lock(hashtext('session.census')))`;

/** How many sessions have not ended. */
export const countActive = async (db: Queryable): Promise<number> =>
  (await db.query<{ active: number }>('count_active_sessions', CENSUS))[0]?.active ?? 0;
