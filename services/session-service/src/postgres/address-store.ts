import type { SessionId } from '@muster/session/token';
import type { AddressStore, EventAddress, SessionAddresses } from '../core/address-rewrite.ts';
import type { Queryable } from './pool.ts';

const SESSIONS = `SELECT id, created_ip::text AS ip, last_ip::text AS "lastIp" FROM sessions
  WHERE ($1::uuid IS NULL OR id > $1::uuid) ORDER BY id LIMIT $2`;
const EVENTS = `SELECT id::text, at::text, ip::text AS ip FROM session_events
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

/** Addresses in Postgres, for the job that makes them as strict as the setting asks. */
export const createAddressStore = (db: Queryable): AddressStore => ({
  sessionsAfter: (id, limit) =>
    db.query<SessionAddresses & Record<string, unknown>>('addresses_of_sessions', SESSIONS, [
      id ?? null,
      limit,
    ]),
  eventsAfter: (id, limit) =>
    db.query<EventAddress & Record<string, unknown>>('addresses_of_events', EVENTS, [id, limit]),
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
