import type { Queries } from '@muster/kit/postgres';
import type { Subject, UserRules } from '../../core/ports.ts';
import type { LimitRule } from '../../core/session.ts';

const LOCK = `INSERT INTO subjects (tenant_id, user_id) VALUES ($1, $2)
  ON CONFLICT (tenant_id, user_id) DO UPDATE SET updated_at = now()
  RETURNING max_sessions, at_limit, disabled_at IS NOT NULL AS disabled`;

/** Locks a user until the transaction ends: whoever counts or ends this user's sessions waits in line. */
export const lockSubject = async (tx: Queries, tenant: string, userId: string): Promise<Subject> => {
  const [row] = await tx.query<{
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

/** Changes a user's rules and takes the lock; what is undefined stays as it is. */
export const putSubject = async (
  tx: Queries,
  tenant: string,
  userId: string,
  rules: UserRules,
): Promise<Subject> => {
  const { maxSessions, atLimit, disabled } = rules;
  const [row] = await tx.query<{
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
