import type { Actor, UserRules, UserRulesPatch, UserSessions } from '../../core/ports.ts';
import type { LimitRule } from '../../core/session.ts';
import type { Queryable } from '../pool.ts';

const LOCK = `INSERT INTO subjects (tenant_id, user_id) VALUES ($1, $2)
  ON CONFLICT (tenant_id, user_id) DO UPDATE SET updated_at = now()
  RETURNING max_sessions, at_limit, disabled_at IS NOT NULL AS disabled`;

/** Locks a user until the transaction ends: whoever counts or ends this user's sessions waits in line. */
export const lockUser = async (tx: Queryable, tenant: string, userId: string): Promise<UserRules> => {
  const [row] = await tx.write<{
    max_sessions: number | null;
    at_limit: LimitRule | null;
    disabled: boolean;
  }>('lock_subject', LOCK, [tenant, userId]);
  return {
    maxSessions: row?.max_sessions ?? null,
    atLimit: row?.at_limit ?? null,
    disabled: row?.disabled ?? false,
  };
};

const PUT = `INSERT INTO subjects AS s (tenant_id, user_id, max_sessions, at_limit, disabled_at)
  VALUES ($1, $2, $4, $6, CASE WHEN $7::boolean THEN now() END)
  ON CONFLICT (tenant_id, user_id) DO UPDATE SET
    max_sessions = CASE WHEN $3 THEN $4 ELSE s.max_sessions END,
    at_limit = CASE WHEN $5 THEN $6 ELSE s.at_limit END,
    disabled_at = CASE WHEN $7::boolean IS NULL THEN s.disabled_at WHEN $7 THEN coalesce(s.disabled_at, now()) END,
    updated_at = now()
  RETURNING max_sessions, at_limit, disabled_at IS NOT NULL AS disabled`;

const LOG = `INSERT INTO session_events (tenant_id, user_id, type, actor, ip, request_id, detail)
  SELECT $1, $2, e.type, $3, $4::inet, $5, e.detail FROM jsonb_to_recordset($6::jsonb) AS e(type text, detail jsonb)`;

/** Writes one entry per change of a user's rules; none where everything was so already. */
export const logRules = async (
  tx: Queryable,
  { tenant, userId }: UserSessions,
  change: { before: UserRules; after: UserRules; reason: string | undefined },
  actor: Actor,
): Promise<void> => {
  const { before, after, reason } = change;
  const events: { type: string; detail: object }[] = [];
  if (before.disabled !== after.disabled) {
    events.push({ type: after.disabled ? 'user.disabled' : 'user.enabled', detail: { reason } });
  }
  if (before.maxSessions !== after.maxSessions || before.atLimit !== after.atLimit) {
    const limits = { before: limitsOf(before), after: limitsOf(after) };
    events.push({ type: 'user.limits_changed', detail: { reason, ...limits } });
  }
  if (events.length === 0) return;
  await tx.write('log_user_rules', LOG, [
    tenant,
    userId,
    actor.name,
    actor.ip,
    actor.requestId,
    JSON.stringify(events),
  ]);
};

const limitsOf = ({ maxSessions, atLimit }: UserRules): object => ({
  max_sessions: maxSessions,
  at_limit: atLimit,
});

/** Changes a user's rules and takes the lock; what is undefined stays as it is. */
export const putUserRules = async (
  tx: Queryable,
  tenant: string,
  userId: string,
  rules: UserRulesPatch,
): Promise<UserRules> => {
  const { maxSessions, atLimit, disabled } = rules;
  const [row] = await tx.write<{
    max_sessions: number | null;
    at_limit: LimitRule | null;
    disabled: boolean;
  }>('put_subject', PUT, [
    tenant,
    userId,
    maxSessions !== undefined,
    maxSessions ?? null,
    atLimit !== undefined,
    atLimit ?? null,
    disabled ?? null,
  ]);
  return {
    maxSessions: row?.max_sessions ?? null,
    atLimit: row?.at_limit ?? null,
    disabled: row?.disabled ?? false,
  };
};
