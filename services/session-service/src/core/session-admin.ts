import type { SessionId } from '@muster/session/token';
import type { LatestUses } from './activity-flusher.ts';
import type { SweepStore } from './expiry-sweeper.ts';
import type { Actor, AdminStore, SearchFilter, SessionEndResult, UserRulesPatch, UserSessions } from './ports.ts';
import type { Propagation } from './propagation.ts';
import type { EndReason } from './session-record.ts';
import type { EndResult, SessionService } from './session-service.ts';

/** Search, bulk ends, user rules, erasure and the audit log. */
export type SessionAdmin = ReturnType<typeof createSessionAdmin>;

interface AdminDeps {
  readonly store: AdminStore & Pick<SweepStore, 'touch'>;
  readonly sessions: Pick<SessionService, 'end'>;
  readonly propagation: Pick<Propagation, 'deliver'>;
  readonly latestUses: LatestUses;
  readonly now: () => number;
  readonly onEnded: (reason: string, count: number) => void;
}

const BATCH = 500;

/** Changes are committed in Postgres and then delivered to Redis and the bus. */
export const createSessionAdmin = (deps: AdminDeps) => {
  const { store, sessions, propagation, latestUses, now, onEnded } = deps;
  const settle = async (ended: SessionEndResult, reason: EndReason): Promise<EndResult> => {
    if (ended.ids.length > 0) onEnded(reason, ended.ids.length);
    return { ended: ended.ids.length, propagated: await propagation.deliver(ended.posted) };
  };
  /** The sessions that have not been active since `before`. Pending activity and open sockets count, and are written to Postgres. */
  const withoutActivity = async (ids: readonly SessionId[], before: number): Promise<readonly SessionId[]> => {
    const uses = await latestUses(ids);
    const active = ids.flatMap((id, index) => {
      const seenAt = uses[index]?.isOnline ? now() : uses[index]?.at;
      return seenAt === undefined || seenAt < before ? [] : [{ id, at: seenAt }];
    });
    if (active.length > 0) await store.touch(active);
    const activeIds = new Set(active.map(({ id }) => id));
    return ids.filter((id) => !activeIds.has(id));
  };
  return {
    search: store.search,
    feed: store.feed,
    eventsOfUser: store.eventsOfUser,
    eventsOfSession: store.eventsOfSession,
    sessionsOfUser: store.sessionsOfUser,
    /** Changes a user's rules; disabling ends all sessions of the user. */
    putRules: async (user: UserSessions, patch: UserRulesPatch, actor: Actor) => {
      const { rules, ended } = await store.putRules(user, patch, actor);
      return { rules, result: await settle(ended, 'user_disabled') };
    },
    /** Ends at most 500 matching sessions; call again while `more` is true. */
    endMatching: async (filter: SearchFilter, reason: EndReason, actor: Actor) => {
      const found = await store.findUnended(filter, BATCH);
      const ids = filter.seenBefore === undefined ? found : await withoutActivity(found, filter.seenBefore);
      const result = ids.length === 0 ? NOTHING : await sessions.end(ids, reason, actor);
      return { ...result, more: found.length === BATCH };
    },
    /** Ends and deletes all sessions of a user and removes the user from the audit log. */
    erase: async (user: UserSessions, actor: Actor) => {
      const { ended, ...counts } = await store.erase(user, actor);
      return { ...counts, propagated: (await settle(ended, 'erased')).propagated };
    },
  };
};

const NOTHING: EndResult = { ended: 0, propagated: 'done' };
