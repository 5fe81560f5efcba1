import type { AdminStore, SessionEndResult } from '../core/ports.ts';
import type { Postgres } from './pool.ts';
import { endSessionsOfUser } from './queries/end-sessions.ts';
import { eventsOfSession, eventsOfUser, readFeed } from './queries/events.ts';
import { allSessionsOfUser, forgetUser } from './queries/privacy.ts';
import { findUnended, searchSessions } from './queries/search-sessions.ts';
import { lockUser, logRules, putUserRules } from './queries/users.ts';

const NOTHING_ENDED: SessionEndResult = { ids: [], posted: undefined };

/** Searches, users and the log book in Postgres. */
export const createAdminStore = (db: Postgres): AdminStore => ({
  search: (query) => searchSessions(db, query),
  findUnended: (filter, limit) => findUnended(db, filter, limit),
  putRules: ({ tenant, userId }, wanted, actor) =>
    db.transaction(async (tx) => {
      const before = await lockUser(tx, tenant, userId);
      const rules = await putUserRules(tx, tenant, userId, wanted);
      await logRules(tx, { tenant, userId }, { before, after: rules, reason: wanted.reason }, actor);
      if (wanted.disabled !== true) return { rules, ended: NOTHING_ENDED };
      return { rules, ended: await endSessionsOfUser(tx, { tenant, userId }, 'user_disabled', actor) };
    }),
  feed: (query) => readFeed(db, query),
  eventsOfUser: (query) => eventsOfUser(db, query),
  eventsOfSession: (query) => eventsOfSession(db, query),
  sessionsOfUser: (tenant, userId) => allSessionsOfUser(db, tenant, userId),
  erase: ({ tenant, userId }, actor) =>
    db.transaction(async (tx) => {
      await lockUser(tx, tenant, userId);
      const ended = await endSessionsOfUser(tx, { tenant, userId }, 'erased', actor);
      return { ended, ...(await forgetUser(tx, tenant, userId, actor)) };
    }),
});
