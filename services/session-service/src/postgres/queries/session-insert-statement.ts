import type { Actor } from '../../core/ports.ts';
import type { SessionLimit } from '../../core/session-limit.ts';
import type { SessionDraft, SessionRecord } from '../../core/session-record.ts';
import { ANSWER_TIMEOUT_MS, type Queryable } from '../pool.ts';
import { COLUMNS, type SessionRow, toRecord } from '../rows.ts';

/**
 * `live` counts the earlier sessions of the user within the statement. Nothing is written when it is NULL or when
 * `condition` is false.
 */
const insertCounting = (live: string, condition = 'true'): string => `
WITH room AS MATERIALIZED (SELECT ${live} AS live), made AS (
  INSERT INTO sessions (id, tenant_id, user_id, kind, policy, transport, remember, secret_hash, device_id, label,
    client_kind, client_summary, user_agent, created_ip, last_ip, country, auth_time, aal, amr, idp, idp_sid, idp_sub,
    actor_id, actor_reason, actor_session, data, grants, idle_seconds, expires_at, idle_check_at)
  SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14::inet, $14::inet, $15,
    CASE WHEN $3::text IS NULL THEN NULL ELSE coalesce(to_timestamp($16::float8 / 1000), now()) END,
    $17, $18::text[], $19, $20, $21, $22, $23, $30, $24::jsonb, $25::jsonb, $26,
    now() + make_interval(secs => $27),
    CASE WHEN $26 = 0 THEN 'infinity' ELSE now() + make_interval(secs => $26) END
  FROM room WHERE room.live IS NOT NULL AND ${condition}
  RETURNING *
), logged AS (
  INSERT INTO session_events (tenant_id, user_id, session_id, type, actor, ip, request_id, impersonator, detail)
  SELECT tenant_id, user_id, id, 'session.created', $28, created_ip, $29, actor_id, jsonb_build_object('policy', policy)
    || CASE WHEN actor_reason IS NULL THEN '{}' ELSE jsonb_build_object('reason', actor_reason) END
    || CASE WHEN grants = '[]' THEN '{}' ELSE jsonb_build_object('grants', grants) END FROM made
)
SELECT ${COLUMNS}, (SELECT live FROM room) AS live_before FROM made`;

const INSERT = insertCounting('0');
const IN_TIME = 'clock_timestamp() < to_timestamp($33::float8 / 1000)';
// Evaluated twice: `subject_room` writes the row of the user and may wait for its lock.
const INSERT_IF_ROOM = insertCounting(
  `CASE WHEN NOT ${IN_TIME} THEN NULL WHEN $3::text IS NULL THEN 0
    ELSE subject_room($2, $3, $31, $32, $9::text IS NOT NULL) END`,
  IN_TIME,
);

/** Inserts a session and its event. */
export const insertSession = async (db: Queryable, session: SessionDraft, actor: Actor): Promise<SessionRecord> => {
  const [row] = await db.write<SessionRow>('insert_session', INSERT, valuesOf(session, actor));
  if (row === undefined) throw new Error('an inserted session was not returned');
  return toRecord(row);
};

/**
 * Inserts a session under the user lock, in one statement, if no session has to be evicted; undefined otherwise, and
 * if the user is disabled.
 *
 * A server that hung executes what it received even after the caller has timed out. Therefore the statement carries
 * the deadline of the caller. If the server's clock is ahead by more than that, the result is undefined: the caller
 * then uses a transaction, whose COMMIT is sent only while it waits.
 */
export const insertIfRoom = async (
  db: Queryable,
  session: SessionDraft,
  actor: Actor,
  limit: SessionLimit,
): Promise<{ session: SessionRecord; devices: number } | undefined> => {
  const deadline = Date.now() + ANSWER_TIMEOUT_MS;
  const values = [...valuesOf(session, actor), limit.maxSessions, limit.atLimit, deadline];
  const [row] = await db.query<SessionRow & { live_before: number }>('insert_session_if_room', INSERT_IF_ROOM, values);
  return row && { session: toRecord(row), devices: row.live_before + 1 };
};

const valuesOf = (session: SessionDraft, actor: Actor): unknown[] => {
  const { client, auth } = session;
  return [
    session.id,
    session.tenant,
    session.userId,
    session.kind,
    session.policy,
    session.transport,
    session.remember,
    session.secretHash,
    client.deviceId,
    session.label,
    client.kind,
    client.summary,
    client.userAgent,
    session.ip,
    session.country,
    auth.time ?? null,
    auth.aal,
    auth.amr,
    auth.idp,
    auth.idpSid,
    auth.idpSub,
    session.actor?.id ?? null,
    session.actor?.reason ?? null,
    JSON.stringify(session.data),
    JSON.stringify(session.grants),
    session.idleSeconds,
    session.maxSeconds,
    actor.name,
    actor.requestId,
    session.actorSession ?? null,
  ];
};
