import type { SessionId } from '@muster/session/token';
import { type Actor, type SessionEndResult, SYSTEM, type UserSessions } from '../../core/ports.ts';
import type { EndReason } from '../../core/session.ts';
import type { Queryable } from '../pool.ts';
import { type OutboxRow, toPosted } from '../rows.ts';

/**
 * Ends what `locked` selects, writes the log book and the outbox, in one statement.
 * Rows are locked in the order of their ids, so that two ends never wait for each other in a circle.
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
// What has expired is the sweeper's to end. What merely looks idle may have activity on its way, so it is ended here.
const BY_USER = endWhere(
  'tenant_id = $5 AND user_id = $6 AND ($7::uuid IS NULL OR id <> $7) AND expires_at > now()',
);

/** Ends the sessions among these that live. */
export const endSessions = async (
  db: Queryable,
  ids: readonly SessionId[],
  reason: EndReason,
  actor: Actor,
): Promise<SessionEndResult> =>
  ended(
    await db.write<OutboxRow>('end_sessions', BY_ID, [reason, actor.name, actor.ip, actor.requestId, ids]),
  );

const BY_ACTOR = endWhere('actor_session = ANY($5::uuid[])');

/** Ends the live impersonations whose actors had these sessions. */
export const endSessionsOfActors = async (
  db: Queryable,
  ids: readonly SessionId[],
): Promise<SessionEndResult> =>
  ended(
    await db.write<OutboxRow>('end_impersonations', BY_ACTOR, [
      'actor_ended',
      SYSTEM.name,
      SYSTEM.ip,
      SYSTEM.requestId,
      ids,
    ]),
  );

/** Ends the live sessions of a user. Call it under the subject lock. */
export const endSessionsOfUser = async (
  db: Queryable,
  { tenant, userId, except }: UserSessions,
  reason: EndReason,
  actor: Actor,
): Promise<SessionEndResult> =>
  ended(
    await db.write<OutboxRow>('end_sessions_of_user', BY_USER, [
      reason,
      actor.name,
      actor.ip,
      actor.requestId,
      tenant,
      userId,
      except ?? null,
    ]),
  );

const ended = (rows: readonly OutboxRow[]): SessionEndResult => {
  const posted = toPosted(rows[0]);
  return { ids: posted?.change.k === 'end' ? posted.change.sessions.map(({ id }) => id) : [], posted };
};
