import { every, type Stop, within } from '@muster/kit/clock';
import type { Logger } from '@muster/kit/logger';
import { oneAtATime } from '@muster/kit/periodic-job';
import type { SessionCache } from '@muster/session/session-cache';
import { isTombstone } from '@muster/session/session-decision';
import type { Snapshot, SnapshotRead, SnapshotStore } from '@muster/session/session-snapshot';
import type { SessionSource } from '@muster/session/session-source';
import type { SessionId } from '@muster/session/token';
import type { ClientIdentity } from '../core/ports.ts';
import type { SessionRegistry } from './session-registry.ts';

export interface SessionRevalidationDeps {
  readonly registry: SessionRegistry;
  /** Checked with the sessions of open connections, so that an unannounced end is found in the same time. */
  readonly cache: Pick<SessionCache<ClientIdentity>, 'ids' | 'revalidate'>;
  readonly snapshots: Pick<SnapshotStore, 'readMany'>;
  readonly source: Pick<SessionSource, 'check' | 'recentChanges'>;
  readonly log: Logger;
  /** Identity and permissions of a session, from its snapshot. */
  identityOf(snapshot: Snapshot): ClientIdentity;
  /** Called with the live sessions among those compared that have a connection. */
  onLive(snapshots: readonly Snapshot[]): void;
  /** False while session events are not received. */
  isBusHealthy(): boolean;
}

type Revisions = ReadonlyMap<SessionId, number>;
type LiveRead = Extract<SnapshotRead, { is: 'live' }>;

const REVALIDATION_MS = 30_000;
/** A deaf bus is detected within three seconds; with this interval a change is applied within five. */
const DEAF_POLL_MS = 1_000;
const BATCH = 500;
/** Longest wait for Redis before the session service is queried instead. */
const SNAPSHOT_TIMEOUT_MS = 1_000;
const NO_REVISIONS: Revisions = new Map();
/** Rotations that change privileges; after any other rotation the previous secret stays valid for a while. */
const PRIVILEGE_CHANGES = new Set(['step_up', 'upgrade']);

/** True for a change after which clients have to authenticate again. */
export const isPrivilegeChange = (why: string): boolean => PRIVILEGE_CHANGES.has(why);

/**
 * Finds sessions that ended or changed, announced on the bus or not, and applies that to their connections: every session once in
 * 30 s; while the bus is deaf, recent ends and changes every second. One pass at a time.
 */
export const createSessionRevalidation = (deps: SessionRevalidationDeps) => {
  const { registry, source, log } = deps;
  let isPolling = false;
  /** Changed sessions that could not be read yet, with the lowest revision that is recent enough. */
  const unread = new Map<SessionId, number>();

  const revalidate = async (): Promise<void> => {
    for (const ids of batches([...new Set([...registry.ids(), ...deps.cache.ids()])])) {
      const { live } = await compare(deps, ids);
      deps.cache.revalidate(ids, live, registry.has);
      deps.onLive(live.filter(({ id }) => registry.has(id)));
    }
  };
  const checkAll = oneAtATime(() =>
    revalidate().catch((error: unknown) => log.warn({ error }, 'session.revalidation_failed')),
  );
  const checkRevisions = async (least: Revisions): Promise<void> => {
    const skipsRedis = !deps.isBusHealthy();
    for (const ids of batches([...least.keys()].filter(registry.has))) {
      const { unreadable } = await compare(deps, ids, least, skipsRedis);
      for (const id of unreadable) unread.set(id, least.get(id) ?? 0);
    }
  };
  /** Applies ends and raised privileges that the bus did not announce. Returns the other changes, to be read. */
  const applyMissedChanges = async (): Promise<Map<SessionId, number>> => {
    const changedRevisions = new Map<SessionId, number>();
    if (deps.isBusHealthy() || registry.size() === 0) return changedRevisions;
    const { ended, changed } = await source.recentChanges();
    for (const { id, why } of ended) registry.end(id, why);
    for (const { id, why, rev } of changed) {
      if (!registry.isBehind(id, rev)) continue;
      if (isPrivilegeChange(why)) registry.renew(id, why, rev);
      else changedRevisions.set(id, rev);
    }
    return changedRevisions;
  };
  const poll = async (): Promise<void> => {
    if (isPolling) return;
    isPolling = true;
    const before = new Map(unread);
    unread.clear();
    const missed = await applyMissedChanges().catch((error: unknown): Revisions => {
      log.debug({ error }, 'session.source_failed');
      return NO_REVISIONS;
    });
    await checkRevisions(new Map([...before, ...missed]));
    isPolling = false;
  };

  const stops: Stop[] = [every(REVALIDATION_MS, () => void checkAll()), every(DEAF_POLL_MS, () => void poll())];
  return {
    /** Compares every local session with Redis, and with the session service where Redis has no entry. */
    checkAll,
    /** Reads sessions whose change was announced. Those that cannot be read are retried every second. */
    checkChanged: (ids: readonly SessionId[]): Promise<void> => checkRevisions(new Map(ids.map((id) => [id, 0]))),
    [Symbol.dispose]: (): void => {
      for (const stop of stops) stop();
    },
  };
};

/**
 * Compares sessions with Redis, and with the session service where Redis has no entry at or above the revision `least`.
 * Ends the connections of ended sessions and passes newer revisions to the others. Returns the live sessions that Redis
 * has, and the sessions that neither store returned. Never rejects.
 */
const compare = async (
  deps: SessionRevalidationDeps,
  ids: readonly SessionId[],
  least = NO_REVISIONS,
  skipsRedis = false,
): Promise<{ readonly live: readonly Snapshot[]; readonly unreadable: readonly SessionId[] }> => {
  const reads = skipsRedis ? [] : await readSnapshots(deps, ids);
  const live: Snapshot[] = [];
  const unknown = ids.filter((id, index) => {
    const read = reads[index];
    if (!applyRead(deps, id, read, least.get(id) ?? 0)) return deps.registry.has(id);
    live.push(read.snapshot);
    return false;
  });
  const answered = await Promise.all(unknown.map((id) => applySource(deps, id)));
  return { live, unreadable: unknown.filter((_, index) => !answered[index]) };
};

/** Applies a snapshot of Redis; false where it is missing or older than `least`. */
const applyRead = (
  { registry, identityOf }: SessionRevalidationDeps,
  id: SessionId,
  read: SnapshotRead | undefined,
  least: number,
): read is LiveRead => {
  if (read !== undefined && isTombstone(read)) registry.end(id, read.reason);
  if (read?.is !== 'live' || read.snapshot.rev < least) return false;
  // Most sessions have not changed since the last pass.
  if (registry.isBehind(id, read.snapshot.rev)) registry.revise(id, identityOf(read.snapshot));
  return true;
};

/** Applies the answer of the session service. False when the request fails: the session stays. */
const applySource = async (
  { registry, source, identityOf }: SessionRevalidationDeps,
  id: SessionId,
): Promise<boolean> => {
  try {
    const answer = await source.check(id);
    if (answer.is === 'live') registry.revise(id, identityOf(answer.snapshot));
    else registry.end(id, answer.is === 'ended' ? answer.reason : 'unknown');
    return true;
  } catch {
    return false;
  }
};

/** Snapshots that Redis returns within {@link SNAPSHOT_TIMEOUT_MS}; none after a fault. */
const readSnapshots = async (
  { snapshots, log }: SessionRevalidationDeps,
  ids: readonly SessionId[],
): Promise<readonly SnapshotRead[]> => {
  try {
    return await within(SNAPSHOT_TIMEOUT_MS, 'reading sessions', snapshots.readMany(ids));
  } catch (error) {
    log.debug({ error }, 'session.snapshot_failed');
    return [];
  }
};

const batches = (ids: readonly SessionId[]): SessionId[][] =>
  Array.from({ length: Math.ceil(ids.length / BATCH) }, (_, at) => ids.slice(at * BATCH, (at + 1) * BATCH));
