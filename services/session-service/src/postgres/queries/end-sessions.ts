import type { SessionId } from '@muster/session/token';
import { type Actor, type SessionEndResult, type SessionStore, SYSTEM, type UserSessions } from '../../core/ports.ts';
import type { EndReason } from '../../core/session-record.ts';
import type { Queryable } from '../pool.ts';
import { type OutboxRow, toPosted } from '../rows.ts';

/**
 * Ends what `condition` selects, writes the event log and the outbox, in one statement. $1 reason, $2 actor, $3 its
 * address, $4 request id. Rows are locked in the order of their ids, so that two ends cannot deadlock.
 */
const endWhere = (condition: string) => `
WITH locked AS (
  SELECT id FROM sessions WHERE ${condition} AND ended_at IS NULL ORDER BY id FOR NO KEY UPDATE
), ended AS (
  UPDATE sessions s SET ended_at = now(), end_reason = $1, rev = s.rev + 1
  FROM locked WHERE s.id = locked.id AND s.ended_at IS NULL
  RETURNING s.id, s.rev, s.tenant_id, s.user_id, s.actor_id
), logged AS (
  INSERT INTO session_events (tenant_id, user_id, session_id, type, actor, ip, request_id, impersonator, detail)
  SELECT tenant_id, user_id, id, 'session.ended', $2, $3::inet, $4, actor_id, jsonb_build_object('reason', $1::text) FROM ended
), posted AS (
  INSERT INTO outbox (topic, payload)
  SELECT 'session', jsonb_build_object('k', 'end', 'why', $1::text,
    'at', trunc(extract(epoch FROM now()) * 1000),
    'sessions', jsonb_agg(jsonb_build_object('id', id, 'rev', rev, 'tenant', tenant_id)))
  FROM ended HAVING count(*) > 0
  RETURNING id, payload
)
SELECT (SELECT id FROM posted) AS outbox_id, (SELECT payload FROM posted) AS change`;

const BY_ID = endWhere('id = ANY($5::uuid[])');
const BY_ACTOR = endWhere('actor_session = ANY($5::uuid[])');
// Expired sessions are left to the sweeper. A session that looks idle may have pending activity, so it is ended here.
const BY_USER = endWhere('tenant_id = $5 AND user_id = $6 AND ($7::uuid IS NULL OR id <> $7) AND expires_at > now()');

/** Statements that end sessions; a session that has ended already is left as it is. */
export const endQueries = (db: Queryable): Pick<SessionStore, 'end' | 'endOfActors'> => ({
  end: (ids, reason, actor) => endSessions(db, ids, reason, actor),
  endOfActors: (ids) => run(db, 'end_impersonations', BY_ACTOR, 'actor_ended', SYSTEM, [ids]),
});

/** Ends those of the sessions that are live. */
export const endSessions = (
  db: Queryable,
  ids: readonly SessionId[],
  reason: EndReason,
  actor: Actor,
): Promise<SessionEndResult> => run(db, 'end_sessions', BY_ID, reason, actor, [ids]);

/** Ends the live sessions of a user. Requires the user lock. */
export const endSessionsOfUser = (
  tx: Queryable,
  { tenant, userId, except }: UserSessions,
  reason: EndReason,
  actor: Actor,
): Promise<SessionEndResult> =>
  run(tx, 'end_sessions_of_user', BY_USER, reason, actor, [tenant, userId, except ?? null]);

const run = async (
  db: Queryable,
  name: string,
  text: string,
  reason: EndReason,
  actor: Actor,
  values: readonly unknown[],
): Promise<SessionEndResult> => {
  const [row] = await db.write<OutboxRow>(name, text, [reason, actor.name, actor.ip, actor.requestId, ...values]);
  const posted = toPosted(row);
  return { ids: posted?.change.k === 'end' ? posted.change.sessions.map(({ id }) => id) : [], posted };
};
