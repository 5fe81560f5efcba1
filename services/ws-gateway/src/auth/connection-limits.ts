import { andThen } from '../core/maybe-promise.ts';
import type { AuthenticationResult, SessionHolder } from '../core/ports.ts';
import { userKeyOf } from '../core/ports.ts';
import type { Authenticator } from './authenticator.ts';

/** The subject of the limit that was reached. */
export type ConnectionLimitScope = 'user' | 'session';

interface HolderKeys {
  readonly user: string;
  readonly session: string | undefined;
}

export interface ConnectionLimitsDeps {
  readonly authenticator: Authenticator;
  /** Connections of one user on this gateway; 0 for no limit. */
  readonly maxPerUser: number;
  /** Connections of one session on this gateway; 0 for no limit. */
  readonly maxPerSession: number;
  onRefused(scope: ConnectionLimitScope, client: { readonly user: string; readonly session: string | undefined }): void;
}

/**
 * Enforces `MAX_CONNECTIONS_PER_USER` and `MAX_CONNECTIONS_PER_SESSION` behind an authenticator. When a limit is
 * reached, the connections that count are pinged, and the new connection is rejected with `limit_reached`.
 */
export const withConnectionLimits = (deps: ConnectionLimitsDeps): Authenticator => {
  const { authenticator, maxPerUser, maxPerSession } = deps;
  if (maxPerUser === 0 && maxPerSession === 0) return authenticator;
  const users = new Map<string, Set<SessionHolder>>();
  const sessions = new Map<string, Set<SessionHolder>>();
  const keysByHolder = new Map<SessionHolder, HolderKeys>();

  const reachedScope = (user: string, session: string | undefined): ConnectionLimitScope | undefined => {
    // The empty user id is shared by all anonymous clients.
    if (user !== '' && maxPerUser > 0 && sizeOf(users, user) >= maxPerUser) return 'user';
    if (session === undefined || maxPerSession === 0) return undefined;
    return sizeOf(sessions, session) >= maxPerSession ? 'session' : undefined;
  };
  const removeHolder = (holder: SessionHolder): void => {
    const keys = keysByHolder.get(holder);
    if (keys === undefined) return;
    keysByHolder.delete(holder);
    remove(users, keys.user, holder);
    if (keys.session !== undefined) remove(sessions, keys.session, holder);
  };
  const addHolder = (holder: SessionHolder, keys: HolderKeys): void => {
    keysByHolder.set(holder, keys);
    add(users, keys.user, holder);
    if (keys.session !== undefined) add(sessions, keys.session, holder);
  };

  const limited = (result: AuthenticationResult, holder: SessionHolder): AuthenticationResult => {
    if (!result.ok) return result;
    const { identity } = result;
    const session = identity.sessionId;
    const user = identity.user === '' ? '' : userKeyOf(identity);
    const reached = reachedScope(user, session);
    if (reached === undefined) {
      addHolder(holder, { user, session });
      return result;
    }
    // Connections left over from a lost network do not answer this ping, and are closed with 3012.
    const holders = reached === 'user' ? users.get(user) : sessions.get(session ?? '');
    for (const one of holders ?? []) one.probe?.();
    authenticator.release(session, holder);
    deps.onRefused(reached, { user: identity.user, session });
    return { ok: false, why: 'limit_reached' };
  };

  return {
    ...authenticator,
    authenticate: (shown, holder) =>
      andThen(authenticator.authenticate(shown, holder), (result) => limited(result, holder)),
    transfer: (id, from, to) => {
      const keys = keysByHolder.get(from);
      if (keys !== undefined) {
        removeHolder(from);
        addHolder(to, keys);
      }
      authenticator.transfer(id, from, to);
    },
    release: (id, holder) => {
      removeHolder(holder);
      authenticator.release(id, holder);
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
