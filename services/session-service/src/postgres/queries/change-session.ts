import type { Changed, ChangeOf, ChangeStore, Upgrade } from '../../core/ports.ts';
import type { Queryable } from '../pool.ts';
import { COLUMNS, type OutboxRow, type SessionRow, toPosted, toRecord } from '../rows.ts';
import { findSessions } from './read-sessions.ts';

/** A kind of change, as the event log and the outbox record it. */
interface ChangeKind {
  /** Type of the event. */
  readonly event: string;
  readonly k: 'rot' | 'upd';
  readonly why: string;
  /** More members for the detail of the event, as SQL of a jsonb object. */
  readonly detail?: string;
  /** The detail reads `grants_before`; the row is locked first, so that this is what the change replaces. */
  readonly readsBefore?: boolean;
}

const BEFORE = `before AS MATERIALIZED (
  SELECT id AS before_id, grants AS grants_before FROM sessions WHERE id = $1 FOR NO KEY UPDATE
), `;

/**
 * Changes one live session, writes the event log and the outbox, in one statement. $1 id, $2 expected revision or
 * NULL, $3 actor, $4 address, $5 request id; the assignments start at $6.
 */
const change = (
  { event, k, why, detail = `'{}'`, readsBefore = false }: ChangeKind,
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
  const hasEnded = found.endedAt !== null || found.expiresAt <= Date.now();
  return { ok: false, why: hasEnded ? 'ended' : 'revision', session: found };
};

const ROTATE = change(
  { event: 'session.rotated', k: 'rot', why: 'rotated' },
  `prev_hash = secret_hash, prev_until = now() + interval '24 hours', rotated_at = now(), secret_hash = $7`,
  'secret_hash = $6',
);
/** The 30 s of the previous secret start once. */
const CONFIRM = change(
  { event: 'session.rotation_confirmed', k: 'upd', why: 'confirmed' },
  `prev_until = now() + interval '30 seconds'`,
  `prev_until > now() + interval '30 seconds'`,
);
/** The previous secret is invalid at commit, but stays recognisable: presented later it is `late` and does not end the session. */
const RETIRE = `prev_hash = secret_hash, prev_until = now(), rotated_at = now(), secret_hash = $6,
  aal = greatest(aal, $7), auth_time = greatest(auth_time, coalesce(to_timestamp($9::float8 / 1000), now())),
  amr = ARRAY(SELECT DISTINCT unnest(amr || $8::text[]) ORDER BY 1)`;
const STEP_UP = change({ event: 'session.stepped_up', k: 'rot', why: 'step_up' }, RETIRE);
const UPGRADE = change(
  { event: 'session.upgraded', k: 'rot', why: 'upgrade' },
  `${RETIRE}, user_id = $10, kind = 'user', policy = $11, idle_seconds = $12,
  expires_at = now() + make_interval(secs => $13), last_seen_at = now(),
  idle_check_at = CASE WHEN $12 = 0 THEN 'infinity' ELSE now() + make_interval(secs => $12) END,
  idp = $14, idp_sid = $15, idp_sub = $16`,
  'user_id IS NULL',
);
/** The event names the changed members; only of `grants` it has the values. */
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
const EVENT = `INSERT INTO session_events
    (tenant_id, user_id, session_id, type, actor, ip, request_id, impersonator, detail)
  SELECT tenant_id, user_id, id, $2, $3, $4::inet, $5, actor_id, $6::jsonb FROM sessions WHERE id = $1`;

/** Statements that change one live session. */
export const changeQueries = (db: Queryable): Omit<ChangeStore, 'upgrade'> => ({
  rotate: (of, { from, to }) => run(db, of, 'rotate_session', ROTATE, [from, to]),
  confirm: (of) => run(db, of, 'confirm_rotation', CONFIRM, []),
  stepUp: (of, { secretHash, aal, amr, authTime }) =>
    run(db, of, 'step_up_session', STEP_UP, [secretHash, aal, amr, authTime ?? null]),
  rewrite: (of, { label, data, grants, reason }) => {
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
  },
  log: async (id, type, actor, detail) => {
    const values = [id, type, actor.name, actor.ip, actor.requestId, JSON.stringify(detail)];
    await db.write('log_session_event', EVENT, values);
  },
});

/** Gives a guest's session to a user; label and data stay. Requires the user lock. */
export const upgradeGuest = (tx: Queryable, of: ChangeOf, upgrade: Upgrade): Promise<Changed> =>
  run(tx, of, 'upgrade_session', UPGRADE, [
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
