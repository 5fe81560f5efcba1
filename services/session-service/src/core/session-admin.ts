import type { SessionId } from '@muster/session/token';
import type { LatestUses } from './activity-flusher.ts';
import type { SweepStore } from './expiry-sweeper.ts';
import type {
  Actor,
  AdminStore,
  SearchFilter,
  SessionEndResult,
  UserRules,
  UserRulesPatch,
  UserSessions,
} from './ports.ts';
import type { Propagation, PropagationState } from './propagation.ts';
import type { EndReason } from './session.ts';
import type { EndResult, SessionService } from './sessions.ts';

/** What operators and back ends do beyond single sessions. */
export interface SessionAdmin extends Omit<AdminStore, 'putRules' | 'erase' | 'findUnended'> {
  /** Changes a user's rules; disabling ends all sessions of the user. */
  putRules(
    which: UserSessions,
    rules: UserRulesPatch,
    actor: Actor,
  ): Promise<{ rules: UserRules; result: EndResult }>;
  /** Ends at most 500 sessions that fit; `more` asks for another call. */
  endMatching(filter: SearchFilter, reason: EndReason, actor: Actor): Promise<EndResult & { more: boolean }>;
  erase(
    which: UserSessions,
    actor: Actor,
  ): Promise<{ sessions: number; events: number; propagated: PropagationState }>;
}

interface AdminDeps {
  readonly store: AdminStore & Pick<SweepStore, 'touch'>;
  readonly sessions: Pick<SessionService, 'end'>;
  readonly propagation: Pick<Propagation, 'deliver'>;
  readonly latestUses: LatestUses;
  readonly now: () => number;
  readonly onEnded: (reason: string, count: number) => void;
}

const BATCH = 500;

/** Everything that ends sessions goes the same way: Postgres, Redis, bus. */
export const createSessionAdmin = (deps: AdminDeps): SessionAdmin => {
  const { store, sessions, propagation, latestUses, now, onEnded } = deps;
  const settle = async (ended: SessionEndResult, reason: EndReason): Promise<EndResult> => {
    if (ended.ids.length > 0) onEnded(reason, ended.ids.length);
    return { ended: ended.ids.length, propagated: await propagation.deliver(ended.posted) };
  };
  /** Activity on its way to Postgres counts, and so does an open socket: it is written first, and such sessions are left alone. */
  const stillSilent = async (ids: readonly SessionId[], before: number): Promise<readonly SessionId[]> => {
    const uses = await latestUses(ids);
    const active = ids.flatMap((id, index) => {
      const seenAt = uses[index]?.isOnline ? now() : uses[index]?.at;
      return seenAt === undefined || seenAt < before ? [] : [{ id, at: seenAt }];
    });
    if (active.length > 0) await store.touch(active);
    const saved = new Set(active.map(({ id }) => id));
    return ids.filter((id) => !saved.has(id));
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
      const found = await store.findUnended(filter, BATCH);
      const ids = filter.seenBefore === undefined ? found : await stillSilent(found, filter.seenBefore);
      const result = ids.length === 0 ? NOTHING : await sessions.end(ids, reason, actor);
      return { ...result, more: found.length === BATCH };
    },
    erase: async (which, actor) => {
      const { ended, sessions: gone, events } = await store.erase(which, actor);
      return { sessions: gone, events, propagated: (await settle(ended, 'erased')).propagated };
    },
  };
};

const NOTHING: EndResult = { ended: 0, propagated: 'done' };
