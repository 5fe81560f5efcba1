import type { SessionId } from '@muster/session/token';
import type { LatestUses } from '../../core/activity-flusher.ts';
import {
  type Actor,
  type ChangeOf,
  type ChangeStore,
  type Idempotency,
  NOTHING_ENDED,
  type Replay,
  type SessionCreateOptions,
  type SessionCreateResult,
  type SessionEndResult,
  type SessionStore,
  SYSTEM,
  type Upgrade,
  type Upgraded,
  type UpgradeOptions,
  type UserRules,
} from '../../core/ports.ts';
import { applySessionLimit, type CountedSession, type SessionLimit } from '../../core/session-limit.ts';
import type { SessionDraft, SessionRecord } from '../../core/session-record.ts';
import type { Postgres, Queryable, Transaction } from '../pool.ts';
import { upgradeGuest } from './change-session.ts';
import { endSessions } from './end-sessions.ts';
import { findLiveSessions, findSessions, listSessions } from './read-sessions.ts';
import { insertIfRoom, insertSession } from './session-insert-statement.ts';
import { lockUser } from './users.ts';

/** Sessions in a refusal; the full list has its own path. */
const LISTED = 20;

/** Rolls a transaction back and carries the result out of it. */
class Rollback<T> extends Error {
  readonly result: T;

  constructor(result: T) {
    super('rolled back');
    this.result = result;
  }
}

/** Statements that open a session or give a guest's session to a user, under the lock and the limit of that user. */
export const createSessionQueries = (
  db: Postgres,
  latestUses: LatestUses,
): Pick<SessionStore, 'create'> & Pick<ChangeStore, 'upgrade'> => ({
  create: async (session, options) => {
    const { idempotency, actor, limit } = options;
    // The common login, which evicts no session, is one statement. The other cases need a transaction.
    if (idempotency === undefined && session.actor === null) {
      const created = await insertIfRoom(db, session, actor, limit);
      if (created !== undefined) return { ok: true, ...created, evicted: NOTHING_ENDED };
    }
    try {
      return await db.transaction((tx) => createOnce({ tx, latestUses }, session, options));
    } catch (error) {
      if (!(error instanceof Rollback) || idempotency === undefined) throw error;
      // A concurrent request with the same key was faster; its session is committed now.
      const replay = await findReplay(db, session.tenant, idempotency);
      if (replay === undefined) throw error;
      return replay;
    }
  },
  upgrade: async (of, upgrade, options) => {
    try {
      return await db.transaction((tx) => upgradeOnce({ tx, latestUses }, of, upgrade, options));
    } catch (error) {
      if (error instanceof Rollback) return error.result as Extract<Upgraded, { ok: false }>;
      throw error;
    }
  },
});

const createOnce = async (
  locked: LockedUser,
  session: SessionDraft,
  { limit, actor, idempotency }: SessionCreateOptions,
): Promise<SessionCreateResult> => {
  const { tx } = locked;
  const { tenant, userId, client } = session;
  const rules = userId === null ? undefined : await lockUser(tx, { tenant, userId });
  const replay = idempotency && (await findReplay(tx, tenant, idempotency));
  if (replay) return replay;
  let evicted = NOTHING_ENDED;
  let devices = 1;
  if (rules?.disabled && session.actor !== null) return { ok: false, why: 'disabled' };
  // An impersonation does not count towards the user's limit.
  if (rules !== undefined && userId !== null && session.actor === null) {
    const admitted = await admit(locked, rules, { tenant, userId, deviceId: client.deviceId, actor }, limit);
    if (!admitted.ok) return admitted;
    evicted = admitted.evicted;
    devices = admitted.devices;
  }
  const created = await insertSession(tx, session, actor);
  if (idempotency && !(await claimKey(tx, created, idempotency))) throw new Rollback(undefined);
  return { ok: true, session: created, evicted, devices };
};

const upgradeOnce = async (
  locked: LockedUser,
  of: ChangeOf,
  upgrade: Upgrade,
  { limit, idempotency }: UpgradeOptions,
): Promise<Upgraded> => {
  const { tx } = locked;
  const [guest] = await findSessions(tx, [of.id]);
  if (guest === undefined) return { ok: false, why: 'missing' };
  const { tenant, about } = guest;
  const { userId } = upgrade;
  const rules = await lockUser(tx, { tenant, userId });
  const replay = idempotency && (await findReplay(tx, tenant, idempotency));
  if (replay) return replay;
  const login = { tenant, userId, deviceId: about.client.deviceId, actor: of.actor };
  const admitted = await admit(locked, rules, login, limit);
  if (!admitted.ok) return admitted;
  const changed = await upgradeGuest(tx, of, upgrade);
  // Without an upgrade no session may have been evicted for it.
  if (!changed.ok && admitted.evicted.ids.length > 0) throw new Rollback(changed);
  if (!changed.ok) return changed;
  // A concurrent request of another user claimed the key: the keys stand for different requests.
  const isClaimed = idempotency === undefined || (await claimKey(tx, changed.session, idempotency));
  if (!isClaimed) throw new Rollback({ ok: false, why: 'key_reused' });
  return { ...changed, evicted: admitted.evicted };
};

/** A transaction that holds the user lock, and the source of activity that is not in Postgres yet. */
interface LockedUser {
  readonly tx: Transaction;
  readonly latestUses: LatestUses;
}

interface NewLogin {
  readonly tenant: string;
  readonly userId: string;
  readonly deviceId: string | null;
  /** The caller, whose request id the evictions carry. */
  readonly actor: Actor;
}

type Admitted =
  | { readonly ok: true; readonly evicted: SessionEndResult; readonly devices: number }
  | Extract<SessionCreateResult, { ok: false; why: 'disabled' | 'limit' }>;

/** Makes room for one more session, or refuses it. Requires the user lock. */
const admit = async (
  locked: LockedUser,
  rules: UserRules,
  login: NewLogin,
  defaults: SessionLimit,
): Promise<Admitted> => {
  const { tenant, userId } = login;
  if (rules.disabled) return { ok: false, why: 'disabled' };
  const room = await makeRoom(locked, login, {
    maxSessions: rules.maxSessions ?? defaults.maxSessions,
    atLimit: rules.atLimit ?? defaults.atLimit,
  });
  if (room !== undefined) return { ok: true, ...room };
  const sessions = await listSessions(locked.tx, { tenant, userId, state: 'live', limit: LISTED });
  return { ok: false, why: 'limit', sessions };
};

/** Evicts what exceeds the limit with one more session; undefined when the limit forbids evictions. */
const makeRoom = async (
  { tx, latestUses }: LockedUser,
  { tenant, userId, deviceId, actor }: NewLogin,
  limit: SessionLimit,
): Promise<{ evicted: SessionEndResult; devices: number } | undefined> => {
  const found = await findLiveSessions(tx, tenant, userId);
  const mustChoose = limit.atLimit === 'evict_idle' && found.length >= limit.maxSessions;
  const live = mustChoose ? await withUses(found, latestUses) : found;
  const room = applySessionLimit(live, limit, deviceId);
  if (!room.ok) return undefined;
  const devices = live.length - room.end.length + 1;
  if (room.end.length === 0) return { evicted: NOTHING_ENDED, devices };
  const by = { ...SYSTEM, requestId: actor.requestId };
  return { evicted: await endSessions(tx, room.end, room.reason, by), devices };
};

/** Adds pending activity and open sockets: the column `last_seen_at` lags behind. */
const withUses = async (
  live: readonly CountedSession[],
  latestUses: LatestUses,
): Promise<readonly CountedSession[]> => {
  const uses = await latestUses(live.map(({ id }) => id));
  return live.map((session, index) => ({
    ...session,
    lastSeenAt: Math.max(session.lastSeenAt, uses[index]?.at ?? 0),
    isOnline: uses[index]?.isOnline ?? false,
  }));
};

const FIND_KEY = `SELECT request_hash, session_id FROM idempotency_keys
  WHERE tenant_id = $1 AND caller = $2 AND key = $3 AND created_at > now() - interval '24 hours'`;
/** A key that is older than a day, and not yet deleted, counts as unused. */
const CLAIM_KEY = `INSERT INTO idempotency_keys AS k (tenant_id, caller, key, request_hash, session_id, session_rev)
  VALUES ($1, $2, $3, $4, $5, $6)
  ON CONFLICT (tenant_id, caller, key) DO UPDATE
    SET request_hash = excluded.request_hash, session_id = excluded.session_id, session_rev = excluded.session_rev,
        created_at = now()
    WHERE k.created_at <= now() - interval '24 hours'
  RETURNING 1 AS claimed`;

/** The result of the first request with this key within the last day; undefined without one. */
const findReplay = async (
  db: Queryable,
  tenant: string,
  { caller, key, requestHash }: Idempotency,
): Promise<Replay | undefined> => {
  const [row] = await db.query<{ request_hash: Buffer; session_id: SessionId }>('find_idempotency_key', FIND_KEY, [
    tenant,
    caller,
    key,
  ]);
  if (row === undefined) return undefined;
  if (!row.request_hash.equals(requestHash)) return { ok: false, why: 'key_reused' };
  const [session] = await findSessions(db, [row.session_id]);
  return { ok: false, why: 'replayed', session };
};

/** Ties a session to a key; false when the key is taken. */
const claimKey = async (
  db: Queryable,
  { tenant, id, rev }: SessionRecord,
  { caller, key, requestHash }: Idempotency,
): Promise<boolean> => {
  const values = [tenant, caller, key, requestHash, id, rev];
  return (await db.write('claim_idempotency_key', CLAIM_KEY, values)).length === 1;
};
