import type { SessionId } from '@muster/session/token';
import type { Actor, Changed, ChangeOf, Raise, Rewrite, Upgrade } from '../../core/ports.ts';
import type { Queryable } from '../pool.ts';
import { COLUMNS, type OutboxRow, type SessionRow, toPosted, toRecord } from '../rows.ts';
import { findSessions } from './find-sessions.ts';

interface Kind {
  readonly event: string;
  readonly k: 'rot' | 'upd';
  readonly why: string;
  /** More members for the detail of the event, as SQL of a jsonb object. */
  readonly detail?: string;
  /** The detail reads `before.grants_before`; the row is locked first, so that it is what the change replaces. */
  readonly readsBefore?: boolean;
}

const BEFORE = `before AS MATERIALIZED (
  SELECT id AS before_id, grants AS grants_before FROM sessions WHERE id = $1 FOR NO KEY UPDATE
), `;

/**
 * Changes one live session, writes the log book and the outbox, in one statement. $1 id, $2 expected revision or
 * NULL, $3 actor, $4 address, $5 request id; the assignments start at $6.
 */
const change = (
  { event, k, why, detail = `'{}'`, readsBefore = false }: Kind,
  assignments: string,
  condition = 'true',
) => `
WITH ${readsBefore ? BEFORE : ''}changed AS (
  UPDATE sessions SET ${assignments}, rev = rev + 1 ${readsBefore ? 'FROM before' : ''}
  WHERE id = $1 ${readsBefore ? 'AND id = before_id' : ''} AND ended_at IS NULL AND expires_at > now() AND ($2::int IS NULL OR rev = $2) AND ${condition}
  RETURNING *
), logged AS (
  INSERT INTO session_events (tenant_id, user_id, session_id, type, actor, ip, request_id, impersonator, detail)
  SELECT tenant_id, user_id, id, '${event}', $3, $4::inet, $5, actor_id,
    jsonb_build_object('rev', rev, 'why', '${why}') || ${detail} FROM changed
), posted AS (
  INSERT INTO outbox (topic, payload)
  SELECT 'session', jsonb_build_object('k', '${k}', 'why', '${why}', 'at', trunc(extract(epoch FROM now()) * 1000),
    'ids', jsonb_build_array(id)) FROM changed
  RETURNING id, payload
)
SELECT ${COLUMNS}, (SELECT id FROM posted) AS outbox_id, (SELECT payload FROM posted) AS change FROM changed`;

const run = async (
  db: Queryable,
  { id, rev, actor }: ChangeOf,
  name: string,
  text: string,
  values: readonly unknown[],
): Promise<Changed> => {
  const [row] = await db.write<SessionRow & OutboxRow>(name, text, [
    id,
    rev ?? null,
    actor.name,
    actor.ip,
    actor.requestId,
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
  { event: 'session.rotated', k: 'rot', why: 'rotated' },
  `prev_hash = secret_hash, prev_until = now() + interval '24 hours', rotated_at = now(), secret_hash = $7`,
  'secret_hash = $6',
);
/** A new secret for who holds the current one; that one stays good until the new one is seen, at most a day. */
export const rotateSecret = (
  db: Queryable,
  of: ChangeOf,
  secrets: { from: Buffer; to: Buffer },
): Promise<Changed> => run(db, of, 'rotate_session', ROTATE, [secrets.from, secrets.to]);

const CONFIRM = change(
  { event: 'session.rotation_confirmed', k: 'upd', why: 'confirmed' },
  `prev_until = now() + interval '30 seconds'`,
  `prev_until > now() + interval '30 seconds'`,
);
/** The new secret was seen: the old one has 30 s left. These 30 s start once. */
export const confirmRotation = (db: Queryable, of: ChangeOf): Promise<Changed> =>
  run(db, of, 'confirm_rotation', CONFIRM, []);

/** The old secret is dead at commit, but known for what it was: it is `late`, and does not end the session. */
const RETIRE = `prev_hash = secret_hash, prev_until = now(), rotated_at = now(), secret_hash = $6,
  aal = greatest(aal, $7), auth_time = greatest(auth_time, coalesce(to_timestamp($9::float8 / 1000), now())),
  amr = ARRAY(SELECT DISTINCT unnest(amr || $8::text[]) ORDER BY 1)`;
const STEP_UP = change({ event: 'session.stepped_up', k: 'rot', why: 'step_up' }, RETIRE);

/** More assurance for the same user. */
export const stepUp = (db: Queryable, of: ChangeOf, raise: Raise): Promise<Changed> =>
  run(db, of, 'step_up_session', STEP_UP, [raise.secretHash, raise.aal, raise.amr, raise.authTime ?? null]);

const UPGRADE = change(
  { event: 'session.upgraded', k: 'rot', why: 'upgrade' },
  `${RETIRE}, user_id = $10, kind = 'user', policy = $11, idle_seconds = $12,
  expires_at = now() + make_interval(secs => $13), last_seen_at = now(),
  idle_check_at = CASE WHEN $12 = 0 THEN 'infinity' ELSE now() + make_interval(secs => $12) END,
  idp = $14, idp_sid = $15, idp_sub = $16`,
  'user_id IS NULL',
);

/** Gives a guest's session to a user; label and data stay. Call it under the subject lock. */
export const upgradeGuest = (db: Queryable, of: ChangeOf, upgrade: Upgrade): Promise<Changed> =>
  run(db, of, 'upgrade_session', UPGRADE, [
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
  ]);

const REWRITE = change(
  {
    event: 'session.updated',
    k: 'upd',
    why: 'updated',
    readsBefore: true,
    detail: `$10::jsonb || CASE WHEN $9::jsonb IS NULL THEN '{}' ELSE
      jsonb_build_object('grants', jsonb_build_object('before', grants_before, 'after', grants)) END`,
  },
  `label = CASE WHEN $6 THEN $7 ELSE label END, data = coalesce($8::jsonb, data), grants = coalesce($9::jsonb, grants)`,
);

/** Rewrites label, data and grants. The log book says which of them, of data no more than that. */
export const rewriteSession = (
  db: Queryable,
  of: ChangeOf,
  { label, data, grants, reason }: Rewrite,
): Promise<Changed> => {
  const changed = Object.entries({ label, data, grants }).flatMap(([name, value]) =>
    value === undefined ? [] : [name],
  );
  return run(db, of, 'rewrite_session', REWRITE, [
    label !== undefined,
    label ?? null,
    data === undefined ? null : JSON.stringify(data),
    grants === undefined ? null : JSON.stringify(grants),
    JSON.stringify({ changed, reason }),
  ]);
};

const EVENT = `INSERT INTO session_events
    (tenant_id, user_id, session_id, type, actor, ip, request_id, impersonator, detail)
  SELECT tenant_id, user_id, id, $2, $3, $4::inet, $5, actor_id, $6::jsonb FROM sessions WHERE id = $1`;

/** Writes into the log book of a session without changing it. */
export const logEvent = async (
  db: Queryable,
  id: SessionId,
  type: string,
  actor: Actor,
  detail: object,
): Promise<void> => {
  await db.write('log_session_event', EVENT, [
    id,
    type,
    actor.name,
    actor.ip,
    actor.requestId,
    JSON.stringify(detail),
  ]);
};
