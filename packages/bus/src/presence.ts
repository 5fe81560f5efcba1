import type { ClientId } from '@muster/protocol/ids';
import type { GroupKey } from './group-key.ts';

/** Who is in a group, on all replicas. Every replica holds a lease; of one whose lease has run out nobody is there. */
export interface Presence extends AsyncDisposable {
  /** Resolves when other replicas can see it. `info` is the JSON text that clients get. Throws REDIS_UNAVAILABLE. */
  add(group: GroupKey, client: ClientId, info: string): Promise<void>;
  /** What cannot be removed now goes with the lease, or with the next word to the store. Never rejects. */
  remove(group: GroupKey, client: ClientId): Promise<void>;
  /** JSON texts by client; undefined when there are more than `most`, 0 for no limit. Throws REDIS_UNAVAILABLE. */
  read(group: GroupKey, most?: number): Promise<ReadonlyMap<string, string> | undefined>;
}

export interface PresenceHandlers {
  /** A client of a replica that died is there no more. Told to one surviving replica only. */
  onGone(group: GroupKey, client: string, info: string): void;
}
