import type { SessionId } from '@muster/session/token';
import type { ClientIdentity, SessionHolder } from '../core/ports.ts';

/** Connections by session, including upgrades and connections whose session is still being checked. */
export type SessionRegistry = ReturnType<typeof createSessionRegistry>;

/**
 * An empty registry. A session with one connection, the usual case, needs no set. `onChanged` is called for each session that has
 * ended or changed, whether it has a connection or not.
 */
export const createSessionRegistry = (onChanged: (id: SessionId) => void = () => {}) => {
  const held = new Map<SessionId, SessionHolder | Set<SessionHolder>>();
  const changed = new Set<SessionId>();
  const holdersOf = (id: SessionId): readonly SessionHolder[] => {
    const present = held.get(id);
    if (present === undefined) return [];
    return present instanceof Set ? [...present] : [present];
  };
  const isOlder = ({ identity }: SessionHolder, rev: number): boolean => (identity?.rev ?? 0) < rev;
  const release = (id: SessionId, holder: SessionHolder): void => {
    const present = held.get(id);
    changed.add(id);
    if (present === holder) held.delete(id);
    else if (present instanceof Set && present.delete(holder) && present.size === 0) held.delete(id);
  };
  const notifyAndForget = (id: SessionId, notify: (holder: SessionHolder) => void): number => {
    const holders = holdersOf(id);
    if (held.delete(id)) changed.add(id);
    for (const holder of holders) notify(holder);
    return holders.length;
  };
  return {
    hold: (id: SessionId, holder: SessionHolder): void => {
      changed.add(id);
      const present = held.get(id);
      if (present === undefined) held.set(id, holder);
      else if (present instanceof Set) present.add(holder);
      else if (present !== holder) held.set(id, new Set([present, holder]));
    },
    release,
    /** Ends every holder of this session and removes them. Returns their number. */
    end: (id: SessionId, why: string): number => {
      onChanged(id);
      return notifyAndForget(id, (holder) => holder.endSession(why));
    },
    /**
     * Notifies every holder that the privileges of this session changed, and removes them. With a revision, only holders of an
     * older one: a repeated poll must not close connections that have authenticated again, or are doing so with the newest
     * revision. Returns their number.
     */
    renew: (id: SessionId, why: string, rev?: number): number => {
      onChanged(id);
      if (rev === undefined) return notifyAndForget(id, (holder) => holder.renewSession(why));
      const old = holdersOf(id).filter((one) => one.identity !== undefined && isOlder(one, rev));
      for (const holder of old) {
        release(id, holder);
        holder.renewSession(why);
      }
      return old.length;
    },
    /** Passes a newer revision of a session to its holders, which stay. */
    revise: (id: SessionId, identity: ClientIdentity): void => {
      for (const holder of holdersOf(id)) holder.reviseSession(identity);
    },
    /** True when a holder has an older revision than this, or none yet. */
    isBehind: (id: SessionId, rev: number): boolean => holdersOf(id).some((one) => isOlder(one, rev)),
    has: (id: SessionId): boolean => held.has(id),
    ids: (): Iterable<SessionId> => held.keys(),
    size: (): number => held.size,
    ...changesOf(held, changed),
  };
};

const changesOf = (held: ReadonlyMap<SessionId, SessionHolder | Set<SessionHolder>>, changed: Set<SessionId>) => ({
  /** Number of connections of a session. */
  count: (id: SessionId): number => {
    const present = held.get(id);
    return present instanceof Set ? present.size : Number(present !== undefined);
  },
  /** Removes and returns at most `limit` sessions whose number of connections may have changed since the last call. */
  takeChanged: (limit: number): SessionId[] => {
    const taken: SessionId[] = [];
    for (const id of changed) {
      if (taken.length >= limit) break;
      changed.delete(id);
      taken.push(id);
    }
    return taken;
  },
  markChanged: (ids: Iterable<SessionId>): void => {
    for (const id of ids) changed.add(id);
  },
});
