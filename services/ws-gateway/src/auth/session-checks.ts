import { within } from '@muster/kit/clock';
import type { Logger } from '@muster/kit/logger';
import type { Snapshot, SnapshotRead, SnapshotStore } from '@muster/session/session-snapshot';
import type { SessionSource } from '@muster/session/session-source';
import type { SessionId } from '@muster/session/token';
import type { ClientIdentity } from '../core/ports.ts';
import type { SessionRegistry } from './session-registry.ts';

export interface SessionChecksDeps {
  readonly registry: SessionRegistry;
  readonly snapshots: Pick<SnapshotStore, 'readMany'>;
  readonly source: Pick<SessionSource, 'check'>;
  readonly log: Logger;
  /** What a session may do, from its snapshot. */
  identityOf(snapshot: Snapshot): ClientIdentity;
}

/** Revisions of sessions, by id. */
export type Revisions = ReadonlyMap<SessionId, number>;

export interface CheckOptions {
  /** A snapshot below this revision is too old to count. */
  readonly least?: Revisions;
  /** Ask the session service at once: the way to Redis is not trusted now. */
  readonly skipsRedis?: boolean;
}

/** Compares sessions of connections here with Redis, and with the session service where Redis does not know. */
export interface SessionChecks {
  /**
   * Ends connections of sessions that have ended, and gives newer revisions to the others. Answers the live ones that Redis has,
   * and those that neither store could show. Never rejects.
   */
  check(
    ids: readonly SessionId[],
    options?: CheckOptions,
  ): Promise<{ readonly live: readonly Snapshot[]; readonly undecided: readonly SessionId[] }>;
}

/** Patience with Redis before the session service is asked instead. */
const SNAPSHOT_BUDGET_MS = 1_000;
const NO_REVISIONS: Revisions = new Map();

export const createSessionChecks = (deps: SessionChecksDeps): SessionChecks => {
  const { registry, source } = deps;

  /** Applies what Redis says; false where it does not know. */
  const applyRead = (id: SessionId, read: SnapshotRead | undefined, least: number): read is LiveRead => {
    if (read?.is === 'ended' && read.reason !== 'unknown') registry.end(id, read.reason);
    if (read?.is !== 'live' || read.snapshot.rev < least) return false;
    registry.revise(id, deps.identityOf(read.snapshot));
    return true;
  };
  /** Applies what the session service says. False when it could not be asked: a fault is no verdict, and the session stays. */
  const askSource = async (id: SessionId): Promise<boolean> => {
    try {
      const answer = await source.check(id);
      if (answer.is === 'live') registry.revise(id, deps.identityOf(answer.snapshot));
      else registry.end(id, answer.is === 'ended' ? answer.reason : 'unknown');
      return true;
    } catch {
      return false;
    }
  };

  return {
    check: async (ids, { least = NO_REVISIONS, skipsRedis = false } = {}) => {
      const reads = skipsRedis ? [] : await readSnapshots(deps, ids);
      const live: Snapshot[] = [];
      const unknown = ids.filter((id, index) => {
        const read = reads[index];
        if (!applyRead(id, read, least.get(id) ?? 0)) return registry.has(id);
        live.push(read.snapshot);
        return false;
      });
      const answered = await Promise.all(unknown.map(askSource));
      return { live, undecided: unknown.filter((_, index) => !answered[index]) };
    },
  };
};

type LiveRead = Extract<SnapshotRead, { is: 'live' }>;

/** What Redis says in time; nothing when it says nothing. */
const readSnapshots = async (
  { snapshots, log }: SessionChecksDeps,
  ids: readonly SessionId[],
): Promise<readonly SnapshotRead[]> => {
  try {
    return await within(SNAPSHOT_BUDGET_MS, 'reading sessions', snapshots.readMany(ids));
  } catch (error) {
    log.debug({ error }, 'session.snapshot_failed');
    return [];
  }
};
