import type { SessionId } from '@muster/session/token';
import type { EndedSession } from '../../core/ports.ts';
import type { SessionRecord } from '../../core/session.ts';
import type { Queryable } from '../pool.ts';
import { COLUMNS, type SessionRow, toRecord } from '../rows.ts';

const FIND = `SELECT ${COLUMNS} FROM sessions WHERE id = ANY($1::uuid[])`;

/** The sessions with these ids, live or ended, in any order. */
export const findSessions = async (db: Queryable, ids: readonly SessionId[]): Promise<SessionRecord[]> =>
  (await db.query<SessionRow>('find_sessions', FIND, [ids])).map(toRecord);

const ENDED_WITHIN = `SELECT id, rev, tenant_id, end_reason FROM sessions
  WHERE ended_at > now() - make_interval(secs => $1::float8 / 1000) ORDER BY ended_at DESC LIMIT $2`;

const CHANGED_WITHIN = `SELECT session_id AS id, detail->>'why' AS why, max((detail->>'rev')::int) AS rev FROM session_events
  WHERE type IN ('session.updated', 'session.stepped_up', 'session.upgraded')
    AND at > now() - make_interval(secs => $1::float8 / 1000)
  GROUP BY 1, 2 ORDER BY 3 LIMIT $2`;

/** What changed lately and was alive then, with the newest revision of each kind of change. */
export const findChangedWithin = (
  db: Queryable,
  ms: number,
  limit: number,
): Promise<{ id: SessionId; why: string; rev: number }[]> =>
  db.query('find_changed_within', CHANGED_WITHIN, [ms, limit]);

/** What ended lately, newest first. */
export const findEndedWithin = async (
  db: Queryable,
  ms: number,
  limit: number,
): Promise<(EndedSession & { readonly why: string })[]> => {
  const rows = await db.query<{ id: SessionId; rev: number; tenant_id: string; end_reason: string }>(
    'find_ended_within',
    ENDED_WITHIN,
    [ms, limit],
  );
  return rows.map(({ id, rev, tenant_id: tenant, end_reason: why }) => ({ id, rev, tenant, why }));
};
