import type { Queries } from '@muster/kit/postgres';
import type { LimitRule } from '../../core/session.ts';

/** A user's own rules; null where the defaults apply. */
export interface Subject {
  readonly maxSessions: number | null;
  readonly atLimit: LimitRule | null;
  readonly disabled: boolean;
}

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
