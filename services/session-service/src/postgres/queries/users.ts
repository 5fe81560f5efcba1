import {
  type Actor,
  type AdminStore,
  NOTHING_ENDED,
  type SessionStore,
  type UserRules,
  type UserRulesPatch,
  type UserSessions,
} from '../../core/ports.ts';
import type { Postgres, Queryable } from '../pool.ts';
import { COLUMNS, type SessionRow, toRecord } from '../rows.ts';
import { endSessionsOfUser } from './end-sessions.ts';

const RULES = 'max_sessions AS "maxSessions", at_limit AS "atLimit", disabled_at IS NOT NULL AS disabled';
const LOCK = `INSERT INTO subjects (tenant_id, user_id) VALUES ($1, $2)
  ON CONFLICT (tenant_id, user_id) DO UPDATE SET updated_at = now() RETURNING ${RULES}`;
const PUT = `INSERT INTO subjects AS s (tenant_id, user_id, max_sessions, at_limit, disabled_at)
  VALUES ($1, $2, $4, $6, CASE WHEN $7::boolean THEN now() END)
  ON CONFLICT (tenant_id, user_id) DO UPDATE SET
    max_sessions = CASE WHEN $3 THEN $4 ELSE s.max_sessions END,
    at_limit = CASE WHEN $5 THEN $6 ELSE s.at_limit END,
    disabled_at = CASE WHEN $7::boolean IS NULL THEN s.disabled_at WHEN $7 THEN coalesce(s.disabled_at, now()) END,
    updated_at = now()
  RETURNING ${RULES}`;
const LOG = `INSERT INTO session_events (tenant_id, user_id, type, actor, ip, request_id, detail)
  SELECT $1, $2, e.type, $3, $4::inet, $5, e.detail FROM jsonb_to_recordset($6::jsonb) AS e(type text, detail jsonb)`;

const SESSIONS = `SELECT ${COLUMNS} FROM sessions WHERE tenant_id = $1 AND user_id = $2 ORDER BY created_at LIMIT 50000`;
const ERASE_SESSIONS = `DELETE FROM sessions WHERE tenant_id = $1 AND user_id = $2 RETURNING id`;
const ERASE_KEYS = `DELETE FROM idempotency_keys WHERE tenant_id = $1 AND session_id = ANY($2::uuid[])`;
/** Keeps types, instants and end reasons; removes every member that identifies the user. */
const ERASE_EVENTS = `UPDATE session_events SET user_id = NULL, ip = NULL, actor = NULL, request_id = NULL, impersonator = NULL,
    detail = CASE WHEN type = 'session.ended' THEN jsonb_build_object('reason', detail -> 'reason') ELSE '{}' END
  WHERE tenant_id = $1 AND (user_id = $2 OR session_id = ANY($3::uuid[])) RETURNING id`;
const ERASE_RULES = 'DELETE FROM subjects WHERE tenant_id = $1 AND user_id = $2';
const RECEIPT = `INSERT INTO session_events (tenant_id, type, actor, request_id, detail)
  VALUES ($1, 'user.erased', $2, $3, jsonb_build_object('sessions', $4::int, 'events', $5::int))`;

/** Statements about one user: rules, ends, export and erasure. */
export const userQueries = (
  db: Postgres,
): Pick<AdminStore, 'putRules' | 'sessionsOfUser' | 'erase'> & Pick<SessionStore, 'endOfUser'> => ({
  putRules: (user, patch, actor) =>
    db.transaction(async (tx) => {
      const before = await lockUser(tx, user);
      const rules = await putUserRules(tx, user, patch);
      await logRules(tx, user, { before, after: rules, reason: patch.reason }, actor);
      if (patch.disabled !== true) return { rules, ended: NOTHING_ENDED };
      return { rules, ended: await endSessionsOfUser(tx, user, 'user_disabled', actor) };
    }),
  sessionsOfUser: async (tenant, userId) =>
    (await db.query<SessionRow>('export_sessions', SESSIONS, [tenant, userId])).map(toRecord),
  endOfUser: (user, reason, actor) =>
    // The lock serialises this end with every login of the user: a later login survives.
    db.transaction(async (tx) => {
      await lockUser(tx, user);
      return endSessionsOfUser(tx, user, reason, actor);
    }),
  erase: (user, actor) =>
    db.transaction(async (tx) => {
      await lockUser(tx, user);
      const ended = await endSessionsOfUser(tx, user, 'erased', actor);
      return { ended, ...(await eraseUser(tx, user, actor)) };
    }),
});

/** Locks a user until the transaction ends: counting and ending this user's sessions is serialised. */
export const lockUser = async (tx: Queryable, { tenant, userId }: UserSessions): Promise<UserRules> =>
  toRules(await tx.write<UserRules>('lock_subject', LOCK, [tenant, userId]));

/** Changes a user's rules and takes the lock; undefined members stay as they are. */
const putUserRules = async (
  tx: Queryable,
  { tenant, userId }: UserSessions,
  { maxSessions, atLimit, disabled }: UserRulesPatch,
): Promise<UserRules> =>
  toRules(
    await tx.write<UserRules>('put_subject', PUT, [
      tenant,
      userId,
      maxSessions !== undefined,
      maxSessions ?? null,
      atLimit !== undefined,
      atLimit ?? null,
      disabled ?? null,
    ]),
  );

const toRules = ([rules]: readonly UserRules[]): UserRules =>
  rules ?? { maxSessions: null, atLimit: null, disabled: false };

/** Writes one event per kind of change; none when nothing changed. */
const logRules = async (
  tx: Queryable,
  { tenant, userId }: UserSessions,
  { before, after, reason }: { before: UserRules; after: UserRules; reason: string | undefined },
  actor: Actor,
): Promise<void> => {
  const events: { type: string; detail: object }[] = [];
  if (before.disabled !== after.disabled) {
    events.push({ type: after.disabled ? 'user.disabled' : 'user.enabled', detail: { reason } });
  }
  if (before.maxSessions !== after.maxSessions || before.atLimit !== after.atLimit) {
    const limits = { before: limitsOf(before), after: limitsOf(after) };
    events.push({ type: 'user.limits_changed', detail: { reason, ...limits } });
  }
  if (events.length === 0) return;
  const values = [tenant, userId, actor.name, actor.ip, actor.requestId, JSON.stringify(events)];
  await tx.write('log_user_rules', LOG, values);
};

const limitsOf = ({ maxSessions, atLimit }: UserRules): object => ({
  max_sessions: maxSessions,
  at_limit: atLimit,
});

/** Deletes all data of a user and writes a receipt with the counts only. Requires the user lock. */
const eraseUser = async (
  tx: Queryable,
  { tenant, userId }: UserSessions,
  actor: Actor,
): Promise<{ sessions: number; events: number }> => {
  const erased = await tx.write<{ id: string }>('forget_sessions', ERASE_SESSIONS, [tenant, userId]);
  const ids = erased.map(({ id }) => id);
  await tx.write('forget_idempotency_keys', ERASE_KEYS, [tenant, ids]);
  const events = (await tx.write('forget_events', ERASE_EVENTS, [tenant, userId, ids])).length;
  await tx.write('forget_subject', ERASE_RULES, [tenant, userId]);
  if (ids.length + events > 0)
    await tx.write('log_erasure', RECEIPT, [tenant, actor.name, actor.requestId, ids.length, events]);
  return { sessions: ids.length, events };
};
