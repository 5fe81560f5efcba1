import type { SessionId } from '@muster/session/token';
import type { SessionHolder } from './ports.ts';

/** Which connections belong to which session, those included that are still being checked. */
export interface SessionRegistry {
  hold(id: SessionId, holder: SessionHolder): void;
  release(id: SessionId, holder: SessionHolder): void;
  /** Tells every holder of this session, and forgets them. Answers how many there were. */
  end(id: SessionId, why: string): number;
  /** Tells every holder that the privileges of this session have changed, and forgets them. */
  renew(id: SessionId, why: string): number;
  has(id: SessionId): boolean;
  ids(): Iterable<SessionId>;
  size(): number;
}

/** An empty registry. A session with one connection, the usual case, costs no set. */
export const createSessionRegistry = (): SessionRegistry => {
  const held = new Map<SessionId, SessionHolder | Set<SessionHolder>>();
  const tellAll = (id: SessionId, tell: (holder: SessionHolder) => void): number => {
    const present = held.get(id);
    if (present === undefined) return 0;
    const holders = present instanceof Set ? [...present] : [present];
    held.delete(id);
    for (const holder of holders) tell(holder);
    return holders.length;
  };
  return {
    hold: (id, holder) => {
      const present = held.get(id);
      if (present === undefined) held.set(id, holder);
      else if (present instanceof Set) present.add(holder);
      else if (present !== holder) held.set(id, new Set([present, holder]));
    },
    release: (id, holder) => {
      const present = held.get(id);
      if (present === holder) held.delete(id);
      else if (present instanceof Set && present.delete(holder) && present.size === 0) held.delete(id);
    },
    end: (id, why) => tellAll(id, (holder) => holder.endSession(why)),
    renew: (id, why) => tellAll(id, (holder) => holder.renewSession(why)),
    has: (id) => held.has(id),
    ids: () => held.keys(),
    size: () => held.size,
  };
};
