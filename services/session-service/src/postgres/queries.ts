import type { LatestUses } from '../core/latest-use.ts';
import type { ChangeStore, SessionStore } from '../core/ports.ts';
import type { Postgres } from './pool.ts';
import { confirmRotation, logEvent, rewriteSession, rotateSecret, stepUp } from './queries/change-session.ts';
import { createSession, upgradeSession } from './queries/create-session.ts';
import { endSessions, endSessionsOfActors, endSessionsOfUser } from './queries/end-sessions.ts';
import { findChangedWithin, findEndedWithin, findSessions } from './queries/find-sessions.ts';
import { listSessions } from './queries/list-sessions.ts';
import { lockUser } from './queries/users.ts';

/** Changes of single sessions in Postgres. */
export const createChangeStore = (db: Postgres, latestUses: LatestUses): ChangeStore => ({
  rotate: (of, secrets) => rotateSecret(db, of, secrets),
  confirm: (of) => confirmRotation(db, of),
  stepUp: (of, raise) => stepUp(db, of, raise),
  upgrade: (of, upgrade, options) => upgradeSession(db, of, upgrade, options, latestUses),
  rewrite: (of, rewrite) => rewriteSession(db, of, rewrite),
  log: (id, type, actor, detail) => logEvent(db, id, type, actor, detail),
});

/** Sessions in Postgres. */
export const createSessionStore = (db: Postgres, latestUses: LatestUses): SessionStore => ({
  create: (session, options) => createSession(db, session, options, latestUses),
  find: async (id) => (await findSessions(db, [id]))[0],
  findMany: (ids) => findSessions(db, ids),
  end: (ids, reason, actor) => endSessions(db, ids, reason, actor),
  endOfUser: (which, reason, actor) =>
    // The lock puts this end and every login of the user in one order: a login after it survives.
    db.transaction(async (tx) => {
      await lockUser(tx, which.tenant, which.userId);
      return endSessionsOfUser(tx, which, reason, actor);
    }),
  endOfActors: (ids) => endSessionsOfActors(db, ids),
  list: (query) => listSessions(db, query),
  endedWithin: (ms, limit) => findEndedWithin(db, ms, limit),
  changedWithin: (ms, limit) => findChangedWithin(db, ms, limit),
});
