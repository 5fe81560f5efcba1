import type { SessionId } from '@muster/session/token';
import type { Idempotency, Replay } from '../../core/ports.ts';
import type { SessionRecord } from '../../core/session.ts';
import type { Queryable } from '../pool.ts';
import { findSessions } from './find-sessions.ts';

const FIND = `SELECT request_hash, session_id FROM idempotency_keys
  WHERE tenant_id = $1 AND caller = $2 AND key = $3 AND created_at > now() - interval '24 hours'`;
/** A key that is older than a day, and not yet deleted, counts as unused. */
const CLAIM = `INSERT INTO idempotency_keys AS k (tenant_id, caller, key, request_hash, session_id, session_rev)
  VALUES ($1, $2, $3, $4, $5, $6)
  ON CONFLICT (tenant_id, caller, key) DO UPDATE
    SET request_hash = excluded.request_hash, session_id = excluded.session_id, session_rev = excluded.session_rev,
        created_at = now()
    WHERE k.created_at <= now() - interval '24 hours'
  RETURNING 1 AS claimed`;

/** What was made under this key within the last day; undefined when nothing was. */
export const findReplay = async (
  db: Queryable,
  tenant: string,
  { caller, key, requestHash }: Idempotency,
): Promise<Replay | undefined> => {
  const [row] = await db.query<{ request_hash: Buffer; session_id: SessionId }>(
    'find_idempotency_key',
    FIND,
    [tenant, caller, key],
  );
  if (row === undefined) return undefined;
  if (!row.request_hash.equals(requestHash)) return { ok: false, why: 'key_reused' };
  const [session] = await findSessions(db, [row.session_id]);
  return { ok: false, why: 'replayed', session };
};

/** Ties a session to a key; false when somebody else holds the key. */
export const claimKey = async (
  db: Queryable,
  { tenant, id, rev }: SessionRecord,
  { caller, key, requestHash }: Idempotency,
): Promise<boolean> =>
  (await db.write('claim_idempotency_key', CLAIM, [tenant, caller, key, requestHash, id, rev])).length === 1;
