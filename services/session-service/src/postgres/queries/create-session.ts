import type { LatestUses } from '../../core/latest-use.ts';
import type { SessionLimit } from '../../core/policies.ts';
import {
  type Actor,
  type ChangeOf,
  type SessionCreateOptions,
  type SessionCreateResult,
  type SessionEndResult,
  SYSTEM,
  type Upgrade,
  type Upgraded,
  type UpgradeOptions,
  type UserRules,
} from '../../core/ports.ts';
import type { SessionDraft } from '../../core/session.ts';
import { applySessionLimit, type CountedSession } from '../../core/session-limit.ts';
import type { Postgres, Transaction } from '../pool.ts';
import { upgradeGuest } from './change-session.ts';
import { endSessions } from './end-sessions.ts';
import { findSessions } from './find-sessions.ts';
import { claimKey, findReplay } from './idempotency-keys.ts';
import { insertIfRoom, insertSession } from './insert-session.ts';
import { listSessions } from './list-sessions.ts';
import { findLiveSessions, type LiveSession } from './live-sessions.ts';
import { lockUser } from './users.ts';

/** Sessions that a refusal names; the whole list has a path of its own. */
const LISTED = 20;
const NOTHING_ENDED: SessionEndResult = { ids: [], posted: undefined };

/** Leaves a transaction with an answer instead of an error. */
class Rollback<T> extends Error {
  readonly answer: T;

  constructor(answer: T) {
    super('rolled back');
    this.answer = answer;
  }
}

/** Opens a session under the lock of its user, once per idempotency key. */
export const createSession = async (
  db: Postgres,
  session: SessionDraft,
  options: SessionCreateOptions,
  latestUses: LatestUses,
): Promise<SessionCreateResult> => {
  // The usual login, for which nobody gives way, is one statement. Everything else is decided step by step.
  if (options.idempotency === undefined && session.actor === null) {
    const made = await insertIfRoom(db, session, options.actor, options.limit);
    if (made !== undefined) return { ok: true, ...made, evicted: NOTHING_ENDED };
  }
  try {
    return await db.transaction((tx) => createOnce({ tx, latestUses }, session, options));
  } catch (error) {
    if (!(error instanceof Rollback) || options.idempotency === undefined) throw error;
    // Somebody with the same key was faster by a moment; what they made is committed now.
    const replay = await findReplay(db, session.tenant, options.idempotency);
    if (replay === undefined) throw error;
    return replay;
  }
};

const createOnce = async (
  under: Locked,
  session: SessionDraft,
  { limit, actor, idempotency }: SessionCreateOptions,
): Promise<SessionCreateResult> => {
  const { tx } = under;
  const { tenant, userId, client } = session;
  const subject = userId === null ? undefined : await lockUser(tx, tenant, userId);
  const replay = idempotency && (await findReplay(tx, tenant, idempotency));
  if (replay) return replay;
  let evicted = NOTHING_ENDED;
  let devices = 1;
  if (subject?.disabled && session.actor !== null) return { ok: false, why: 'disabled' };
  // An impersonation takes no place from the devices of the user.
  if (subject !== undefined && userId !== null && session.actor === null) {
    const admitted = await admit(under, subject, { tenant, userId, deviceId: client.deviceId, actor }, limit);
    if (!admitted.ok) return admitted;
    evicted = admitted.evicted;
    devices = admitted.devices;
  }
  const made = await insertSession(tx, session, actor);
  if (idempotency && !(await claimKey(tx, made, idempotency))) throw new Rollback(undefined);
  return { ok: true, session: made, evicted, devices };
};

/** Gives a guest's session to a user, under the lock and the limit of that user, once per idempotency key. */
export const upgradeSession = async (
  db: Postgres,
  of: ChangeOf,
  upgrade: Upgrade,
  options: UpgradeOptions,
  latestUses: LatestUses,
): Promise<Upgraded> => {
  try {
    return await db.transaction((tx) => upgradeOnce({ tx, latestUses }, of, upgrade, options));
  } catch (error) {
    if (error instanceof Rollback) return error.answer as Extract<Upgraded, { ok: false }>;
    throw error;
  }
};

const upgradeOnce = async (
  under: Locked,
  of: ChangeOf,
  upgrade: Upgrade,
  { limit, idempotency }: UpgradeOptions,
): Promise<Upgraded> => {
  const { tx } = under;
  const [guest] = await findSessions(tx, [of.id]);
  if (guest === undefined) return { ok: false, why: 'missing' };
  const { tenant, about } = guest;
  const { userId } = upgrade;
  const subject = await lockUser(tx, tenant, userId);
  const replay = idempotency && (await findReplay(tx, tenant, idempotency));
  if (replay) return replay;
  const admitted = await admit(
    under,
    subject,
    { tenant, userId, deviceId: about.client.deviceId, actor: of.actor },
    limit,
  );
  if (!admitted.ok) return admitted;
  const changed = await upgradeGuest(tx, of, upgrade);
  // Nothing was made, so nobody may have given way for it.
  if (!changed.ok && admitted.evicted.ids.length > 0) throw new Rollback(changed);
  if (!changed.ok) return changed;
  // Another user's request with the same key was faster by a moment: it is another request.
  const isOurs = idempotency === undefined || (await claimKey(tx, changed.session, idempotency));
  if (!isOurs) throw new Rollback({ ok: false, why: 'key_reused' });
  return { ...changed, evicted: admitted.evicted };
};

/** The transaction that holds the lock of the user, and where activity waits that it cannot see. */
interface Locked {
  readonly tx: Transaction;
  readonly latestUses: LatestUses;
}

interface Newcomer {
  readonly tenant: string;
  readonly userId: string;
  readonly deviceId: string | null;
  /** Whose request it is. */
  readonly actor: Actor;
}

type Admitted =
  | { readonly ok: true; readonly evicted: SessionEndResult; readonly devices: number }
  | Extract<SessionCreateResult, { ok: false; why: 'disabled' | 'limit' }>;

/** Under the subject lock: makes room for one more session, or says why there is none. */
const admit = async (
  under: Locked,
  subject: UserRules,
  newcomer: Newcomer,
  limit: SessionLimit,
): Promise<Admitted> => {
  const { tenant, userId } = newcomer;
  if (subject.disabled) return { ok: false, why: 'disabled' };
  const rule = {
    maxSessions: subject.maxSessions ?? limit.maxSessions,
    atLimit: subject.atLimit ?? limit.atLimit,
  };
  const room = await clearRoom(under, newcomer, rule);
  if (room !== undefined) return { ok: true, ...room };
  const sessions = await listSessions(under.tx, { tenant, userId, state: 'live', limit: LISTED });
  return { ok: false, why: 'limit', sessions };
};

/** Ends what stands in the way of one more session; undefined if nothing may give way. */
const clearRoom = async (
  { tx, latestUses }: Locked,
  { tenant, userId, deviceId, actor }: Newcomer,
  limit: SessionLimit,
): Promise<{ evicted: SessionEndResult; devices: number } | undefined> => {
  const found = await findLiveSessions(tx, tenant, userId);
  const mustChoose = limit.atLimit === 'evict_idle' && found.length >= limit.maxSessions;
  const live = mustChoose ? await withUses(found, latestUses) : found;
  const room = applySessionLimit(live, limit, deviceId);
  if (!room.ok) return undefined;
  const devices = live.length - room.end.length + 1;
  if (room.end.length === 0) return { evicted: NOTHING_ENDED, devices };
  return {
    evicted: await endSessions(tx, room.end, room.reason, {
      ...SYSTEM,
      requestId: actor.requestId,
    }),
    devices,
  };
};

/** Which session was used last is not decided by a column that lags behind. */
const withUses = async (
  live: readonly LiveSession[],
  latestUses: LatestUses,
): Promise<readonly CountedSession[]> => {
  const uses = await latestUses(live.map(({ id }) => id));
  return live.map((one, index) => ({
    ...one,
    lastSeenAt: Math.max(one.lastSeenAt, uses[index]?.at ?? 0),
    isOnline: uses[index]?.isOnline ?? false,
  }));
};
