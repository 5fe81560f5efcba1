import type { SessionId } from '@muster/session/token';
import type { ListQuery, SessionStore } from '../../core/ports.ts';
import type { CountedSession } from '../../core/session-limit.ts';
import type { SessionRecord } from '../../core/session-record.ts';
import type { Queryable } from '../pool.ts';
import { COLUMNS, IS_LIVE, type SessionRow, toRecord } from '../rows.ts';

const FIND = `SELECT ${COLUMNS} FROM sessions WHERE id = ANY($1::uuid[])`;
const ENDED_WITHIN = `SELECT id, rev, tenant_id AS tenant, end_reason AS why FROM sessions
  WHERE ended_at > now() - make_interval(secs => $1::float8 / 1000) ORDER BY ended_at DESC LIMIT $2`;
const CHANGED_WITHIN = `SELECT session_id AS id, detail->>'why' AS why, max((detail->>'rev')::int) AS rev FROM session_events
  WHERE type IN ('session.updated', 'session.stepped_up', 'session.upgraded')
    AND at > now() - make_interval(secs => $1::float8 / 1000)
  GROUP BY 1, 2 ORDER BY 3 LIMIT $2`;

/** Statements that read sessions, live or ended. */
export const readQueries = (
  db: Queryable,
): Pick<SessionStore, 'find' | 'findMany' | 'list' | 'endedWithin' | 'changedWithin'> => ({
  find: async (id) => (await findSessions(db, [id]))[0],
  findMany: (ids) => findSessions(db, ids),
  list: (query) => listSessions(db, query),
  endedWithin: (ms, limit) => db.query('find_ended_within', ENDED_WITHIN, [ms, limit]),
  changedWithin: (ms, limit) => db.query('find_changed_within', CHANGED_WITHIN, [ms, limit]),
});

/** The sessions with these ids, live or ended, in any order. */
export const findSessions = async (db: Queryable, ids: readonly SessionId[]): Promise<SessionRecord[]> =>
  (await db.query<SessionRow>('find_sessions', FIND, [ids])).map(toRecord);

const listWhere = (state: string) => `SELECT ${COLUMNS} FROM sessions
  WHERE tenant_id = $1 AND user_id = $2 AND ${state}
    AND ($3::float8 IS NULL OR (created_at, id) < (to_timestamp($3::float8 / 1000), $4::uuid))
  ORDER BY created_at DESC, id DESC LIMIT $5`;

const LIST = {
  live: listWhere(IS_LIVE),
  ended: listWhere('ended_at IS NOT NULL'),
  all: listWhere('true'),
} as const;

/** One page of a user's sessions, newest first; equal instants are ordered by id. */
export const listSessions = async (
  db: Queryable,
  { tenant, userId, state, after, limit }: ListQuery,
): Promise<SessionRecord[]> => {
  const values = [tenant, userId, after?.createdAt ?? null, after?.id ?? null, limit];
  return (await db.query<SessionRow>(`list_sessions_${state}`, LIST[state], values)).map(toRecord);
};

const LIVE = `SELECT id, device_id, created_at, last_seen_at FROM sessions
  WHERE tenant_id = $1 AND user_id = $2 AND actor_id IS NULL AND ${IS_LIVE} ORDER BY created_at, id`;

/** A user's live sessions that count towards the limit, oldest first: without impersonations and expired sessions. */
export const findLiveSessions = async (db: Queryable, tenant: string, userId: string): Promise<CountedSession[]> => {
  const rows = await db.query<Pick<SessionRow, 'id' | 'device_id' | 'created_at' | 'last_seen_at'>>(
    'find_live_sessions',
    LIVE,
    [tenant, userId],
  );
  return rows.map((row) => ({
    id: row.id as SessionId,
    deviceId: row.device_id,
    createdAt: row.created_at.getTime(),
    lastSeenAt: row.last_seen_at.getTime(),
  }));
};
