import type { ListQuery } from '../../core/ports.ts';
import type { SessionRecord } from '../../core/session.ts';
import type { Queryable } from '../pool.ts';
import { COLUMNS, IS_LIVE, type SessionRow, toRecord } from '../rows.ts';

const listWhere = (state: string) => `SELECT ${COLUMNS} FROM sessions
  WHERE tenant_id = $1 AND user_id = $2 AND ${state}
    AND ($3::float8 IS NULL OR (created_at, id) < (to_timestamp($3::float8 / 1000), $4::uuid))
  ORDER BY created_at DESC, id DESC LIMIT $5`;

const STATEMENTS = {
  live: listWhere(IS_LIVE),
  ended: listWhere('ended_at IS NOT NULL'),
  all: listWhere('true'),
} as const;

/** One page of a user's sessions, newest first; equal instants are told apart by id. */
export const listSessions = async (db: Queryable, query: ListQuery): Promise<SessionRecord[]> => {
  const rows = await db.query<SessionRow>(`list_sessions_${query.state}`, STATEMENTS[query.state], [
    query.tenant,
    query.userId,
    query.after?.createdAt ?? null,
    query.after?.id ?? null,
    query.limit,
  ]);
  return rows.map(toRecord);
};
