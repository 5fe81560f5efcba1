import type { AdminStore, SessionEvent } from '../../core/ports.ts';
import type { Queryable } from '../pool.ts';

interface EventRow extends Omit<SessionEvent, 'position' | 'at'> {
  readonly id: string;
  readonly xid: string;
  readonly at: Date;
}

const COLUMNS = `id::text, xid::text, at, tenant_id AS tenant, user_id AS "userId", session_id AS "sessionId", type,
  actor, abbrev(ip) AS ip, request_id AS "requestId", impersonator, detail`;
/** Events of transactions older than every open one: no event can appear before them any more. */
const FEED = `SELECT ${COLUMNS} FROM session_events
  WHERE (xid, id) > ($1::text::xid8, $2::bigint) AND xid < pg_snapshot_xmin(pg_current_snapshot())
    AND ($3::text IS NULL OR tenant_id = $3) AND ($4::text[] IS NULL OR type = ANY($4))
  ORDER BY session_events.xid, session_events.id LIMIT $5`;
const OF_USER = `SELECT ${COLUMNS} FROM session_events
  WHERE tenant_id = $1 AND user_id = $2 AND ($3::bigint IS NULL OR id < $3)
  ORDER BY at DESC, session_events.id DESC LIMIT $4`;
const OF_SESSION = `SELECT ${COLUMNS} FROM session_events
  WHERE session_id = $1::uuid AND ($2::bigint IS NULL OR id < $2)
  ORDER BY at DESC, session_events.id DESC LIMIT $3`;

/** Statements that read the event log. */
export const eventQueries = (db: Queryable): Pick<AdminStore, 'feed' | 'eventsOfUser' | 'eventsOfSession'> => ({
  feed: async ({ after, tenant, types, limit }) => {
    const values = [after.xid, after.id, tenant, types ?? null, limit];
    return (await db.query<EventRow>('read_event_feed', FEED, values)).map(toEvent);
  },
  eventsOfUser: async ({ tenant, userId, before, limit }) => {
    const values = [tenant, userId, before ?? null, limit];
    return (await db.query<EventRow>('events_of_user', OF_USER, values)).map(toEvent);
  },
  eventsOfSession: async ({ sessionId, before, limit }) => {
    const values = [sessionId, before ?? null, limit];
    return (await db.query<EventRow>('events_of_session', OF_SESSION, values)).map(toEvent);
  },
});

const toEvent = ({ id, xid, at, ...rest }: EventRow): SessionEvent => ({
  position: { xid, id },
  at: at.getTime(),
  ...rest,
});
