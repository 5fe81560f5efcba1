import type { Actor } from '../../core/ports.ts';
import type { SessionRecord } from '../../core/session.ts';
import type { Queryable } from '../pool.ts';
import { COLUMNS, type SessionRow, toRecord } from '../rows.ts';

const SESSIONS = `SELECT ${COLUMNS} FROM sessions WHERE tenant_id = $1 AND user_id = $2 ORDER BY created_at LIMIT 50000`;
const FORGET_SESSIONS = `DELETE FROM sessions WHERE tenant_id = $1 AND user_id = $2 RETURNING id`;
const FORGET_KEYS = `DELETE FROM idempotency_keys WHERE tenant_id = $1 AND session_id = ANY($2::uuid[])`;
/** The log book stays readable as a log book, but tells nothing of the person any more. */
const FORGET_EVENTS = `UPDATE session_events SET user_id = NULL, ip = NULL, actor = NULL, request_id = NULL, impersonator = NULL,
    detail = CASE WHEN type = 'session.ended' THEN jsonb_build_object('reason', detail -> 'reason') ELSE '{}' END
  WHERE tenant_id = $1 AND (user_id = $2 OR session_id = ANY($3::uuid[])) RETURNING id`;
const FORGET_SUBJECT = 'DELETE FROM subjects WHERE tenant_id = $1 AND user_id = $2';
const RECEIPT = `INSERT INTO session_events (tenant_id, type, actor, request_id, detail)
  VALUES ($1, 'user.erased', $2, $3, jsonb_build_object('sessions', $4::int, 'events', $5::int))`;

/** Every session of a user that is still kept, oldest first. */
export const allSessionsOfUser = async (
  db: Queryable,
  tenant: string,
  userId: string,
): Promise<SessionRecord[]> =>
  (await db.query<SessionRow>('export_sessions', SESSIONS, [tenant, userId])).map(toRecord);

/** Deletes what is known of a user; the receipt says how much, and of nobody. Call it under the subject lock. */
export const forgetUser = async (
  tx: Queryable,
  tenant: string,
  userId: string,
  actor: Actor,
): Promise<{ sessions: number; events: number }> => {
  const ids = (await tx.write<{ id: string }>('forget_sessions', FORGET_SESSIONS, [tenant, userId])).map(
    ({ id }) => id,
  );
  await tx.write('forget_idempotency_keys', FORGET_KEYS, [tenant, ids]);
  const events = (await tx.write('forget_events', FORGET_EVENTS, [tenant, userId, ids])).length;
  await tx.write('forget_subject', FORGET_SUBJECT, [tenant, userId]);
  if (ids.length + events > 0)
    await tx.write('log_erasure', RECEIPT, [tenant, actor.name, actor.requestId, ids.length, events]);
  return { sessions: ids.length, events };
};
