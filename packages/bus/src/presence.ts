import type { ClientId } from '@muster/protocol/ids';
import type { GroupKey } from './group-key.ts';

/** Clients of each group on all replicas. Every replica holds a lease; clients of an expired lease are not listed. */
export interface Presence extends AsyncDisposable {
  /** Resolves when other replicas can read it. `info` is the JSON text for clients. Throws REDIS_UNAVAILABLE. */
  add(group: GroupKey, client: ClientId, info: string): Promise<void>;
  /** Never rejects: an entry that cannot be removed expires with the lease or is removed by a later write. */
  remove(group: GroupKey, client: ClientId): Promise<void>;
  /** JSON texts by client; undefined above `most` clients, 0 for no limit. Throws REDIS_UNAVAILABLE. */
  read(group: GroupKey, most?: number): Promise<ReadonlyMap<string, string> | undefined>;
}

export interface PresenceHandlers {
  /** Called on one surviving replica for each client of a crashed replica. */
  onGone(group: GroupKey, client: string, info: string): void;
}
