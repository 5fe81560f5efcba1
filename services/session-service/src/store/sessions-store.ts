import type { Postgres, Transaction } from '@muster/kit/postgres';
import { makeRoom } from '../core/limit.ts';
import type { SessionLimit } from '../core/policies.ts';
import type { Actor, Created, Ended, SessionStore } from '../core/ports.ts';
import type { NewSession } from '../core/session.ts';
import { endSessions, endSessionsOfUser } from './queries/end-sessions.ts';
import { findEndedWithin, findSessions } from './queries/find-sessions.ts';
import { insertSession } from './queries/insert-session.ts';
import { listSessions } from './queries/list-sessions.ts';
import { findLiveSessions } from './queries/live-sessions.ts';
import { lockSubject } from './queries/subjects.ts';

const NOTHING_ENDED: Ended = { ids: [], posted: undefined };

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
    const subject = await lockSubject(tx, session.tenant, userId);
    if (subject.disabled) return { ok: false, why: 'disabled' };
    const rule = {
      maxSessions: subject.maxSessions ?? limit.maxSessions,
      atLimit: subject.atLimit ?? limit.atLimit,
    };
    const evicted = await clearRoom(tx, session, userId, rule);
    if (evicted === undefined) {
      const sessions = await listSessions(tx, {
        tenant: session.tenant,
        userId,
        state: 'live',
        limit: rule.maxSessions,
      });
      return { ok: false, why: 'limit', sessions };
    }
    return { ok: true, session: await insertSession(tx, session, actor), evicted };
  });
};

/** Ends what stands in the way of one more session; undefined if nothing may give way. */
const clearRoom = async (
  tx: Transaction,
  session: NewSession,
  userId: string,
  limit: SessionLimit,
): Promise<Ended | undefined> => {
  const live = await findLiveSessions(tx, session.tenant, userId);
  const room = makeRoom(live, limit, session.client.deviceId);
  if (!room.ok) return undefined;
  if (room.end.length === 0) return NOTHING_ENDED;
  return endSessions(tx, room.end, room.reason, { name: 'system', ip: null });
};
