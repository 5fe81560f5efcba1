import type { Breaker } from '@muster/kit/circuit-breaker';
import type { SnapshotStore } from '@muster/session/session-snapshot';
import type { Snapshots } from './ports.ts';

/** The snapshot store behind a breaker: reads and fills give up quickly while Redis is in trouble. */
export const guardSnapshots = (store: SnapshotStore, breaker: Breaker): Snapshots => ({
  read: (id) => breaker.run(() => store.read(id)),
  put: (snapshot) => breaker.run(() => store.put(snapshot)),
  refresh: (snapshot) => breaker.run(() => store.refresh(snapshot)),
  tomb: (id, rev, reason, tenant) => breaker.run(() => store.tomb(id, rev, reason, tenant)),
  putUnknown: (id) => breaker.run(() => store.putUnknown(id)),
});
