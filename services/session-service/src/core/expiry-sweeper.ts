import type { Logger } from '@muster/kit/logger';
import { createPeriodicJob } from '@muster/kit/periodic-job';
import type { Touch } from '@muster/session/activity';
import type { SessionId } from '@muster/session/token';
import { type Actor, SYSTEM } from './ports.ts';
import type { EndReason } from './session-record.ts';

/** The time for which ended sessions are kept. */
export interface SessionRetention {
  readonly endedDays: number;
  /** For sessions of guests. */
  readonly guestHours: number;
}

/** Statements of the sweeper. */
export interface SweepStore {
  /** Schedules the next idle check of sessions that were active since the last. */
  rescheduleActive(limit: number): Promise<number>;
  findIdle(limit: number): Promise<SessionId[]>;
  findExpired(limit: number): Promise<SessionId[]>;
  /** Impersonations whose actor's session has ended. */
  findOrphaned(limit: number): Promise<SessionId[]>;
  touch(touches: readonly Touch[]): Promise<void>;
  deleteEnded(retention: SessionRetention, limit: number): Promise<number>;
  countActive(): Promise<number>;
  /** Creates and drops partitions of the audit log, deletes old idempotency keys. */
  runHousekeeping(eventDays: number): Promise<number>;
}

interface SweeperDeps extends SessionRetention {
  readonly now: () => number;
  readonly log: Logger;
  readonly store: SweepStore;
  /** Activity that is not in Postgres yet. Rejects when Redis is unavailable. */
  readonly pending: (ids: readonly SessionId[]) => Promise<(number | undefined)[]>;
  readonly end: (ids: readonly SessionId[], reason: EndReason, actor: Actor) => Promise<{ ended: number }>;
  readonly intervalMs: number;
  readonly eventDays: number;
  /** Rewrites stored addresses to the strictness of the setting, a part per round. */
  readonly rewriteAddresses: () => Promise<void>;
  readonly onSwept: (result: { deleted: number }) => void;
  /** Called every minute with the number of sessions that have not ended. */
  readonly onCounted: (active: number) => void;
}

const BATCH = 500;
const DELETE_BATCH = 1000;
const HOUSEKEEPING_MS = 3_600_000;
const COUNT_INTERVAL_MS = 60_000;

/**
 * Ends expired and idle sessions and deletes old sessions every `intervalMs`, one round at a time; housekeeping every
 * hour. Runs on every replica.
 */
export const createExpirySweeper = (deps: SweeperDeps) => {
  let housekeptAt = Number.NEGATIVE_INFINITY;
  let countedAt = Number.NEGATIVE_INFINITY;

  const round = async (): Promise<number> => {
    const expired = await deps.store.findExpired(BATCH);
    const ended = expired.length === 0 ? 0 : (await deps.end(expired, 'expired', SYSTEM)).ended;
    const orphaned = await deps.store.findOrphaned(BATCH);
    if (orphaned.length > 0) await deps.end(orphaned, 'actor_ended', SYSTEM);
    await deps.store.rescheduleActive(BATCH);
    const idle = await endIdle(deps);
    const deleted = await deps.store.deleteEnded(deps, DELETE_BATCH);
    if (deps.now() - housekeptAt > HOUSEKEEPING_MS) {
      await deps.store.runHousekeeping(deps.eventDays);
      housekeptAt = deps.now();
    }
    if (deps.now() - countedAt > COUNT_INTERVAL_MS) {
      countedAt = deps.now();
      deps.onCounted(await deps.store.countActive());
    }
    await deps.rewriteAddresses();
    deps.onSwept({ deleted });
    return ended + idle;
  };
  /** `runOnce` resolves with the number of sessions ended. Never rejects. */
  return createPeriodicJob(deps.intervalMs, () =>
    round().catch((error: unknown) => {
      deps.log.debug({ error }, 'session.expiry_sweep_failed');
      return 0;
    }),
  );
};

/** Ends idle sessions after reading pending activity from Redis. Without Redis no session is ended as idle. */
const endIdle = async ({ store, pending, end }: SweeperDeps): Promise<number> => {
  const ids = await store.findIdle(BATCH);
  if (ids.length === 0) return 0;
  const touched = await pending(ids);
  const active = ids.flatMap((id, at) => {
    const touchedAt = touched[at];
    return touchedAt === undefined ? [] : [{ id, at: touchedAt }];
  });
  if (active.length > 0) await store.touch(active);
  const activeIds = new Set(active.map(({ id }) => id));
  const idle = ids.filter((id) => !activeIds.has(id));
  return idle.length === 0 ? 0 : (await end(idle, 'idle', SYSTEM)).ended;
};
