import type { SessionHolder } from '../core/ports.ts';
import { userKeyOf } from '../core/user-key.ts';
import type { Authenticator } from './authenticator.ts';

/** Whose limit it was. */
export type ConnectionLimitScope = 'user' | 'session';

interface Place {
  readonly user: string;
  readonly session: string | undefined;
}

export interface ConnectionLimitsDeps {
  readonly gate: Authenticator;
  /** Connections of one user on this gateway; 0 for no limit. */
  readonly maxPerUser: number;
  /** Connections of one session on this gateway; 0 for no limit. */
  readonly maxPerSession: number;
  onRefused(
    scope: ConnectionLimitScope,
    client: { readonly user: string; readonly session: string | undefined },
  ): void;
}

/** A gate that lets a user, and a session, have so many connections here and no more. */
export const withConnectionLimits = (deps: ConnectionLimitsDeps): Authenticator => {
  const { gate, maxPerUser, maxPerSession } = deps;
  if (maxPerUser === 0 && maxPerSession === 0) return gate;
  const users = new Map<string, Set<SessionHolder>>();
  const sessions = new Map<string, Set<SessionHolder>>();
  const places = new Map<SessionHolder, Place>();

  const fullFor = (user: string, session: string | undefined): ConnectionLimitScope | undefined => {
    // Anonymous clients are many people with one name.
    if (user !== '' && maxPerUser > 0 && sizeOf(users, user) >= maxPerUser) return 'user';
    if (session === undefined || maxPerSession === 0) return undefined;
    return sizeOf(sessions, session) >= maxPerSession ? 'session' : undefined;
  };
  const leave = (holder: SessionHolder): void => {
    const place = places.get(holder);
    if (place === undefined) return;
    places.delete(holder);
    remove(users, place.user, holder);
    if (place.session !== undefined) remove(sessions, place.session, holder);
  };
  const take = (holder: SessionHolder, place: Place): void => {
    places.set(holder, place);
    add(users, place.user, holder);
    if (place.session !== undefined) add(sessions, place.session, holder);
  };

  return {
    ...gate,
    admit: async (shown, holder) => {
      const admission = await gate.admit(shown, holder);
      if (!admission.ok) return admission;
      const { identity } = admission;
      const session = identity.sessionId;
      const user = identity.user === '' ? '' : userKeyOf(identity);
      const full = fullFor(user, session);
      if (full === undefined) {
        take(holder, { user, session });
        return admission;
      }
      // Some may be left over from a network that the client has left: those who do not answer give their places back.
      const holders = full === 'user' ? users.get(user) : sessions.get(session ?? '');
      for (const one of holders ?? []) one.probe?.();
      gate.release(session, holder);
      deps.onRefused(full, { user: identity.user, session });
      return { ok: false, why: 'crowded' };
    },
    transfer: (id, from, to) => {
      const place = places.get(from);
      if (place !== undefined) {
        leave(from);
        take(to, place);
      }
      gate.transfer(id, from, to);
    },
    release: (id, holder) => {
      leave(holder);
      gate.release(id, holder);
    },
  };
};

type Holders = Map<string, Set<SessionHolder>>;

const sizeOf = (holders: Holders, key: string): number => holders.get(key)?.size ?? 0;

const add = (holders: Holders, key: string, holder: SessionHolder): void => {
  const present = holders.get(key);
  if (present === undefined) holders.set(key, new Set([holder]));
  else present.add(holder);
};

const remove = (holders: Holders, key: string, holder: SessionHolder): void => {
  const present = holders.get(key);
  if (present?.delete(holder) && present.size === 0) holders.delete(key);
};
