import { every, type Stop } from '@muster/kit/clock';
import type { Logger } from '@muster/kit/logger';
import type { Snapshot, SnapshotStore } from '@muster/session/snapshot';
import type { SessionSource } from '@muster/session/source';
import type { SessionId } from '@muster/session/token';
import type { SessionRegistry } from '../core/session-registry.ts';

export interface SweepDeps {
  readonly registry: SessionRegistry;
  readonly snapshots: Pick<SnapshotStore, 'readMany'>;
  readonly source: SessionSource;
  readonly log: Logger;
  /** Sessions that live and have connections here. */
  onLive(snapshots: readonly Snapshot[]): void;
  /** Whether changes of sessions are heard at present. */
  isBusHealthy(): boolean;
}

/** Looks for ended sessions that the bus did not tell of. */
export interface SessionSweep extends Disposable {
  /** Compares every local session with Redis, and with the session service where Redis does not know. */
  checkAll(): Promise<void>;
}

const SWEEP_MS = 30_000;
/** That the bus is deaf is noticed after three seconds at most; with this an end is known within five. */
const DEAF_POLL_MS = 1_000;
const BATCH = 500;

/** Every session once in 30 s; while the bus is deaf, what ended recently every second. One pass at a time. */
export const createSessionSweep = (deps: SweepDeps): SessionSweep => {
  const { registry, snapshots, source, log } = deps;
  let running: Promise<void> | undefined;

  const checkBatch = async (ids: readonly SessionId[]): Promise<void> => {
    const reads = await snapshots.readMany(ids).catch(() => []);
    deps.onLive(reads.flatMap((read) => (read.is === 'live' ? [read.snapshot] : [])));
    const unknown = ids.filter((id, index) => {
      const read = reads[index];
      if (read?.is === 'ended' && read.reason !== 'unknown') registry.end(id, read.reason);
      return read?.is !== 'live' && registry.has(id);
    });
    const answers = await Promise.allSettled(unknown.map((id) => source.check(id)));
    for (const [index, id] of unknown.entries()) {
      const answer = answers[index];
      // A fault is no verdict: the session stays until somebody can tell.
      if (answer?.status !== 'fulfilled' || answer.value.is === 'live') continue;
      registry.end(id, answer.value.is === 'ended' ? answer.value.reason : 'unknown');
    }
  };
  const pass = async (): Promise<void> => {
    const ids = [...registry.ids()];
    for (let from = 0; from < ids.length; from += BATCH) await checkBatch(ids.slice(from, from + BATCH));
  };
  const checkAll = (): Promise<void> => {
    running ??= pass()
      .catch((error: unknown) => log.warn({ error }, 'session.sweep_failed'))
      .finally(() => {
        running = undefined;
      });
    return running;
  };
  const pollEnded = async (): Promise<void> => {
    if (deps.isBusHealthy() || registry.size() === 0) return;
    try {
      for (const { id, why } of await source.recentlyEnded()) registry.end(id, why);
    } catch (error) {
      log.debug({ error }, 'session.source_failed');
    }
  };

  const stops: Stop[] = [every(SWEEP_MS, () => void checkAll()), every(DEAF_POLL_MS, () => void pollEnded())];
  return {
    checkAll,
    [Symbol.dispose]: () => {
      for (const stop of stops) stop();
    },
  };
};
