import type { EventPosition, SessionEvent } from '../../core/ports.ts';
import type { Queryable } from '../pool.ts';

interface EventRow {
  readonly id: string;
  readonly xid: string;
  readonly at: Date;
  readonly tenant_id: string;
  readonly user_id: string | null;
  readonly session_id: string | null;
  readonly type: string;
  readonly actor: string | null;
  readonly ip: string | null;
  readonly request_id: string | null;
  readonly impersonator: string | null;
  readonly detail: Record<string, unknown>;
}

const COLUMNS = `id::text, xid::text, at, tenant_id, user_id, session_id, type, actor, abbrev(ip) AS ip,
  request_id, impersonator, detail`;
/** Only what every older transaction is done with: nothing can appear before it any more. */
const FEED = `SELECT ${COLUMNS} FROM session_events
  WHERE (xid, id) > ($1::text::xid8, $2::bigint) AND xid < pg_snapshot_xmin(pg_current_snapshot())
    AND ($3::text IS NULL OR tenant_id = $3) AND ($4::text[] IS NULL OR type = ANY($4))
  ORDER BY xid, id LIMIT $5`;
const OF_USER = `SELECT ${COLUMNS} FROM session_events
  WHERE tenant_id = $1 AND user_id = $2 AND ($3::bigint IS NULL OR id < $3) ORDER BY at DESC, id DESC LIMIT $4`;
const OF_SESSION = `SELECT ${COLUMNS} FROM session_events
  WHERE session_id = $1::uuid AND ($2::bigint IS NULL OR id < $2) ORDER BY at DESC, id DESC LIMIT $3`;

/** The next events after a position, in the order in which they became visible. */
export const readFeed = async (
  db: Queryable,
  query: { after: EventPosition; tenant: string | null; types: readonly string[] | undefined; limit: number },
): Promise<SessionEvent[]> => {
  const { after, tenant, types, limit } = query;
  const rows = await db.query<EventRow>('read_event_feed', FEED, [
    after.xid,
    after.id,
    tenant,
    types ?? null,
    limit,
  ]);
  return rows.map(toEvent);
};

/** The log book of a user, newest first. */
export const eventsOfUser = async (
  db: Queryable,
  query: { tenant: string; userId: string; before: string | undefined; limit: number },
): Promise<SessionEvent[]> => {
  const { tenant, userId, before, limit } = query;
  return (await db.query<EventRow>('events_of_user', OF_USER, [tenant, userId, before ?? null, limit])).map(
    toEvent,
  );
};

/** The log book of one session, newest first. */
export const eventsOfSession = async (
  db: Queryable,
  query: { sessionId: string; before: string | undefined; limit: number },
): Promise<SessionEvent[]> => {
  const { sessionId, before, limit } = query;
  return (await db.query<EventRow>('events_of_session', OF_SESSION, [sessionId, before ?? null, limit])).map(
    toEvent,
  );
};

const toEvent = (row: EventRow): SessionEvent => ({
  position: { xid: row.xid, id: row.id },
  at: row.at.getTime(),
  tenant: row.tenant_id,
  userId: row.user_id,
  sessionId: row.session_id,
  type: row.type,
  actor: row.actor,
  ip: row.ip,
  requestId: row.request_id,
  impersonator: row.impersonator,
  detail: row.detail,
});
