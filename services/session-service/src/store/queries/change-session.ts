import type { Queries } from '@muster/kit/postgres';
import type { SessionId } from '@muster/session/token';
import type { Actor, Changed, ChangeOf, Raise, Rewrite, Upgrade } from '../../core/ports.ts';
import { COLUMNS, type OutboxRow, type SessionRow, toPosted, toRecord } from '../rows.ts';
import { findSessions } from './find-sessions.ts';

/**
 * Changes one live session, writes the log book and the outbox, in one statement. $1 id, $2 expected revision or
 * NULL, $3 actor, $4 address, $5 type of the event, $6 kind of the change, $7 why; the assignments start at $8.
 */
const change = (assignments: string, condition = 'true') => `
WITH changed AS (
  UPDATE sessions SET ${assignments}, rev = rev + 1
  WHERE id = $1 AND ended_at IS NULL AND expires_at > now() AND ($2::int IS NULL OR rev = $2) AND ${condition}
  RETURNING *
), logged AS (
  INSERT INTO session_events (tenant_id, user_id, session_id, type, actor, ip, detail)
  SELECT tenant_id, user_id, id, $5, $3, $4::inet, jsonb_build_object('rev', rev, 'why', $7::text) FROM changed
), posted AS (
  INSERT INTO outbox (topic, payload)
  SELECT 'session', jsonb_build_object('k', $6::text, 'why', $7::text, 'at', trunc(extract(epoch FROM now()) * 1000),
    'ids', jsonb_build_array(id)) FROM changed
  RETURNING id, payload
)
SELECT ${COLUMNS}, (SELECT id FROM posted) AS outbox_id, (SELECT payload FROM posted) AS change FROM changed`;

interface Statement {
  readonly name: string;
  readonly text: string;
  readonly event: string;
  readonly k: 'rot' | 'upd';
  readonly why: string;
}

const run = async (
  db: Queries,
  { id, rev, actor }: ChangeOf,
  { name, text, event, k, why }: Statement,
  values: readonly unknown[],
): Promise<Changed> => {
  const [row] = await db.query<SessionRow & OutboxRow>(name, text, [
    id,
    rev ?? null,
    actor.name,
    actor.ip,
    event,
    k,
    why,
    ...values,
  ]);
  if (row !== undefined) return { ok: true, session: toRecord(row), posted: toPosted(row) };
  const [found] = await findSessions(db, [id]);
  if (found === undefined) return { ok: false, why: 'missing' };
  const isOver = found.endedAt !== null || found.expiresAt <= Date.now();
  return isOver
    ? { ok: false, why: 'ended', session: found }
    : { ok: false, why: 'revision', session: found };
};

const ROTATE = change(
  `prev_hash = secret_hash, prev_until = now() + interval '24 hours', rotated_at = now(), secret_hash = $9`,
  'secret_hash = $8',
);
/** A new secret for who holds the current one; that one stays good until the new one is seen, at most a day. */
export const rotateSecret = (
  db: Queries,
  of: ChangeOf,
  secrets: { from: Buffer; to: Buffer },
): Promise<Changed> =>
  run(db, of, { name: 'rotate_session', text: ROTATE, event: 'session.rotated', k: 'rot', why: 'rotated' }, [
    secrets.from,
    secrets.to,
  ]);

const CONFIRM = change(
  `prev_until = now() + interval '30 seconds'`,
  `prev_until > now() + interval '30 seconds'`,
);
/** The new secret was seen: the old one has 30 s left. These 30 s start once. */
export const confirmRotation = (db: Queries, of: ChangeOf): Promise<Changed> =>
  run(
    db,
    of,
    {
      name: 'confirm_rotation',
      text: CONFIRM,
      event: 'session.rotation_confirmed',
      k: 'upd',
      why: 'confirmed',
    },
    [],
  );

/** The old secret is dead at commit, but known for what it was: it is `late`, and does not end the session. */
const RETIRE = `prev_hash = secret_hash, prev_until = now(), rotated_at = now(), secret_hash = $8,
  aal = greatest(aal, $9), auth_time = greatest(auth_time, coalesce(to_timestamp($11::float8 / 1000), now())),
  amr = ARRAY(SELECT DISTINCT unnest(amr || $10::text[]) ORDER BY 1)`;
const STEP_UP = change(RETIRE);

/** More assurance for the same user. */
export const stepUp = (db: Queries, of: ChangeOf, raise: Raise): Promise<Changed> =>
  run(
    db,
    of,
    { name: 'step_up_session', text: STEP_UP, event: 'session.stepped_up', k: 'rot', why: 'step_up' },
    [raise.secretHash, raise.aal, raise.amr, raise.authTime ?? null],
  );

const UPGRADE = change(
  `${RETIRE}, user_id = $12, kind = 'user', policy = $13, idle_seconds = $14,
  expires_at = now() + make_interval(secs => $15), last_seen_at = now(),
  idle_check_at = CASE WHEN $14 = 0 THEN 'infinity' ELSE now() + make_interval(secs => $14) END,
  idp = $16, idp_sid = $17, idp_sub = $18`,
  'user_id IS NULL',
);

/** Gives a guest's session to a user; label and data stay. Call it under the subject lock. */
export const upgradeGuest = (db: Queries, of: ChangeOf, upgrade: Upgrade): Promise<Changed> =>
  run(
    db,
    of,
    { name: 'upgrade_session', text: UPGRADE, event: 'session.upgraded', k: 'rot', why: 'upgrade' },
    [
      upgrade.secretHash,
      upgrade.aal,
      upgrade.amr,
      upgrade.authTime ?? null,
      upgrade.userId,
      upgrade.policy,
      upgrade.idleSeconds,
      upgrade.maxSeconds,
      upgrade.idp,
      upgrade.idpSid,
      upgrade.idpSub,
    ],
  );

const REWRITE = change(
  `label = CASE WHEN $8 THEN $9 ELSE label END, data = coalesce($10::jsonb, data), grants = coalesce($11::jsonb, grants)`,
);

/** Rewrites label, data and grants. */
export const rewriteSession = (
  db: Queries,
  of: ChangeOf,
  { label, data, grants }: Rewrite,
): Promise<Changed> =>
  run(
    db,
    of,
    { name: 'rewrite_session', text: REWRITE, event: 'session.updated', k: 'upd', why: 'updated' },
    [
      label !== undefined,
      label ?? null,
      data === undefined ? null : JSON.stringify(data),
      grants === undefined ? null : JSON.stringify(grants),
    ],
  );

const EVENT = `INSERT INTO session_events (tenant_id, user_id, session_id, type, actor, ip, detail)
  SELECT tenant_id, user_id, id, $2, $3, $4::inet, $5::jsonb FROM sessions WHERE id = $1`;

/** Writes into the log book of a session without changing it. */
export const logEvent = async (
  db: Queries,
  id: SessionId,
  type: string,
  actor: Actor,
  detail: object,
): Promise<void> => {
  await db.query('log_session_event', EVENT, [id, type, actor.name, actor.ip, JSON.stringify(detail)]);
};
