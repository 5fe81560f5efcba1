import type { Postgres, Transaction } from '@muster/kit/postgres';
import { makeRoom } from '../core/limit.ts';
import type { SessionLimit } from '../core/policies.ts';
import type {
  Actor,
  Changed,
  ChangeOf,
  ChangeStore,
  Created,
  Ended,
  SessionStore,
  Upgrade,
  Upgraded,
} from '../core/ports.ts';
import type { NewSession } from '../core/session.ts';
import {
  confirmRotation,
  logEvent,
  rewriteSession,
  rotateSecret,
  stepUp,
  upgradeGuest,
} from './queries/change-session.ts';
import { endSessions, endSessionsOfUser } from './queries/end-sessions.ts';
import { findEndedWithin, findSessions } from './queries/find-sessions.ts';
import { insertSession } from './queries/insert-session.ts';
import { listSessions } from './queries/list-sessions.ts';
import { findLiveSessions } from './queries/live-sessions.ts';
import { lockSubject } from './queries/subjects.ts';

const NOTHING_ENDED: Ended = { ids: [], posted: undefined };

/** Changes of single sessions in Postgres. */
export const createChangeStore = (db: Postgres): ChangeStore => ({
  rotate: (of, secrets) => rotateSecret(db, of, secrets),
  confirm: (of) => confirmRotation(db, of),
  stepUp: (of, raise) => stepUp(db, of, raise),
  upgrade: async (of, upgrade, limit) => {
    try {
      return await upgradeSession(db, of, upgrade, limit);
    } catch (error) {
      if (error instanceof Rollback) return error.answer;
      throw error;
    }
  },
  rewrite: (of, rewrite) => rewriteSession(db, of, rewrite),
  log: (id, type, actor, detail) => logEvent(db, id, type, actor, detail),
});

/** Sessions in Postgres. */
export const createSessionStore = (db: Postgres): SessionStore => ({
  create: (session, limit, actor) => createSession(db, session, limit, actor),
  find: async (id) => (await findSessions(db, [id]))[0],
  findMany: (ids) => findSessions(db, ids),
  end: (ids, reason, actor) => endSessions(db, ids, reason, actor),
  endOfUser: (which, reason, actor) =>
    // The lock puts this end and every login of the user in one order: a login after it survives.
    db.transaction(async (tx) => {
      await lockSubject(tx, which.tenant, which.userId);
      return endSessionsOfUser(tx, which, reason, actor);
    }),
  list: (query) => listSessions(db, query),
  endedWithin: (ms, limit) => findEndedWithin(db, ms, limit),
});

const createSession = async (
  db: Postgres,
  session: NewSession,
  limit: SessionLimit,
  actor: Actor,
): Promise<Created> => {
  const { userId } = session;
  if (userId === null) {
    return { ok: true, session: await insertSession(db, session, actor), evicted: NOTHING_ENDED };
  }
  return db.transaction(async (tx) => {
    const { tenant, client } = session;
    const admitted = await admit(tx, { tenant, userId, deviceId: client.deviceId }, limit);
    if (!admitted.ok) return admitted;
    return { ok: true, session: await insertSession(tx, session, actor), evicted: admitted.evicted };
  });
};

const upgradeSession = (
  db: Postgres,
  of: ChangeOf,
  upgrade: Upgrade,
  limit: SessionLimit,
): Promise<Upgraded> =>
  db.transaction(async (tx) => {
    const [guest] = await findSessions(tx, [of.id]);
    if (guest === undefined) return { ok: false, why: 'missing' };
    const { tenant, about } = guest;
    const { userId } = upgrade;
    const admitted = await admit(tx, { tenant, userId, deviceId: about.client.deviceId }, limit);
    if (!admitted.ok) return admitted;
    const changed = await upgradeGuest(tx, of, upgrade);
    // Nothing was made, so nobody may have given way for it.
    if (!changed.ok && admitted.evicted.ids.length > 0) throw new Rollback(changed);
    return changed.ok ? { ...changed, evicted: admitted.evicted } : changed;
  });

/** Leaves a transaction with an answer instead of an error. */
class Rollback extends Error {
  readonly answer: Extract<Changed, { ok: false }>;

  constructor(answer: Extract<Changed, { ok: false }>) {
    super('rolled back');
    this.answer = answer;
  }
}

interface Newcomer {
  readonly tenant: string;
  readonly userId: string;
  readonly deviceId: string | null;
}

type Admitted = { readonly ok: true; readonly evicted: Ended } | Extract<Created, { ok: false }>;

/** Takes the subject lock and makes room for one more session, or says why there is none. */
const admit = async (tx: Transaction, newcomer: Newcomer, limit: SessionLimit): Promise<Admitted> => {
  const { tenant, userId } = newcomer;
  const subject = await lockSubject(tx, tenant, userId);
  if (subject.disabled) return { ok: false, why: 'disabled' };
  const rule = {
    maxSessions: subject.maxSessions ?? limit.maxSessions,
    atLimit: subject.atLimit ?? limit.atLimit,
  };
  const evicted = await clearRoom(tx, newcomer, rule);
  if (evicted !== undefined) return { ok: true, evicted };
  const sessions = await listSessions(tx, { tenant, userId, state: 'live', limit: rule.maxSessions });
  return { ok: false, why: 'limit', sessions };
};

/** Ends what stands in the way of one more session; undefined if nothing may give way. */
const clearRoom = async (
  tx: Transaction,
  { tenant, userId, deviceId }: Newcomer,
  limit: SessionLimit,
): Promise<Ended | undefined> => {
  const live = await findLiveSessions(tx, tenant, userId);
  const room = makeRoom(live, limit, deviceId);
  if (!room.ok) return undefined;
  if (room.end.length === 0) return NOTHING_ENDED;
  return endSessions(tx, room.end, room.reason, { name: 'system', ip: null });
};
