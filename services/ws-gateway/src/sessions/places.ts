import type { SessionHolder } from '../core/ports.ts';
import { userKeyOf } from '../core/user-key.ts';
import type { Gate } from './gate.ts';

/** Whose limit it was. */
export type PlaceScope = 'user' | 'session';

export interface PlacesDeps {
  readonly gate: Gate;
  /** Connections of one user on this gateway; 0 for no limit. */
  readonly maxPerUser: number;
  /** Connections of one session on this gateway; 0 for no limit. */
  readonly maxPerSession: number;
  onRefused(scope: PlaceScope, client: { readonly user: string; readonly session: string | undefined }): void;
}

/** A gate that lets a user, and a session, have so many connections here and no more. */
export const withPlaces = (deps: PlacesDeps): Gate => {
  const { gate, maxPerUser, maxPerSession } = deps;
  if (maxPerUser === 0 && maxPerSession === 0) return gate;
  const users = new Map<string, number>();
  const sessions = new Map<string, number>();
  const places = new Map<SessionHolder, { readonly user: string; readonly session: string | undefined }>();

  const fullFor = (user: string, session: string | undefined): PlaceScope | undefined => {
    // Anonymous clients are many people with one name.
    if (user !== '' && maxPerUser > 0 && (users.get(user) ?? 0) >= maxPerUser) return 'user';
    if (session === undefined || maxPerSession === 0) return undefined;
    return (sessions.get(session) ?? 0) >= maxPerSession ? 'session' : undefined;
  };
  const leave = (holder: SessionHolder): void => {
    const place = places.get(holder);
    if (place === undefined) return;
    places.delete(holder);
    change(users, place.user, -1);
    if (place.session !== undefined) change(sessions, place.session, -1);
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
        places.set(holder, { user, session });
        change(users, user, 1);
        if (session !== undefined) change(sessions, session, 1);
        return admission;
      }
      gate.release(session, holder);
      deps.onRefused(full, { user: identity.user, session });
      return { ok: false, why: 'crowded' };
    },
    transfer: (id, from, to) => {
      const place = places.get(from);
      if (place !== undefined) {
        places.delete(from);
        places.set(to, place);
      }
      gate.transfer(id, from, to);
    },
    release: (id, holder) => {
      leave(holder);
      gate.release(id, holder);
    },
  };
};

const change = (counts: Map<string, number>, key: string, by: number): void => {
  const count = (counts.get(key) ?? 0) + by;
  if (count === 0) counts.delete(key);
  else counts.set(key, count);
};
