import type { Actor, AdminStore, Ended, SearchFilter, Subject, UserRules, UserSessions } from './ports.ts';
import type { Propagated, Propagation } from './propagation.ts';
import type { EndReason } from './session.ts';
import type { EndResult, Sessions } from './sessions.ts';

/** What operators and back ends do beyond single sessions. */
export interface Admin extends Omit<AdminStore, 'putRules' | 'erase' | 'findUnended'> {
  /** Changes a user's rules; disabling ends all sessions of the user. */
  putRules(
    which: UserSessions,
    rules: UserRules,
    actor: Actor,
  ): Promise<{ rules: Subject; result: EndResult }>;
  /** Ends at most 500 sessions that fit; `more` asks for another call. */
  endMatching(filter: SearchFilter, reason: EndReason, actor: Actor): Promise<EndResult & { more: boolean }>;
  erase(
    which: UserSessions,
    actor: Actor,
  ): Promise<{ sessions: number; events: number; propagated: Propagated }>;
}

interface AdminDeps {
  readonly store: AdminStore;
  readonly sessions: Pick<Sessions, 'end'>;
  readonly propagation: Pick<Propagation, 'deliver'>;
  readonly onEnded: (reason: string, count: number) => void;
}

const BATCH = 500;

/** Everything that ends sessions goes the same way: Postgres, Redis, bus. */
export const createAdmin = ({ store, sessions, propagation, onEnded }: AdminDeps): Admin => {
  const settle = async (ended: Ended, reason: EndReason): Promise<EndResult> => {
    if (ended.ids.length > 0) onEnded(reason, ended.ids.length);
    return { ended: ended.ids.length, propagated: await propagation.deliver(ended.posted) };
  };
  return {
    search: store.search,
    feed: store.feed,
    eventsOfUser: store.eventsOfUser,
    eventsOfSession: store.eventsOfSession,
    sessionsOfUser: store.sessionsOfUser,
    putRules: async (which, wanted, actor) => {
      const { rules, ended } = await store.putRules(which, wanted, actor);
      return { rules, result: await settle(ended, 'user_disabled') };
    },
    endMatching: async (filter, reason, actor) => {
      const ids = await store.findUnended(filter, BATCH);
      const result = ids.length === 0 ? NOTHING : await sessions.end(ids, reason, actor);
      return { ...result, more: ids.length === BATCH };
    },
    erase: async (which, actor) => {
      const { ended, sessions: gone, events } = await store.erase(which, actor);
      return { sessions: gone, events, propagated: (await settle(ended, 'erased')).propagated };
    },
  };
};

const NOTHING: EndResult = { ended: 0, propagated: 'done' };
