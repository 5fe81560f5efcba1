import { every } from '@muster/kit/clock';
import type { Logger } from '@muster/kit/logger';
import type { Touch } from '@muster/session/activity';
import type { SessionId } from '@muster/session/token';
import { type Actor, SYSTEM } from './ports.ts';
import type { EndReason } from './session.ts';

/** Ends what is over and clears away what is long over. Runs on every replica. */
export interface ExpirySweeper extends AsyncDisposable {
  /** One round; resolves with the number of sessions ended. Never rejects. */
  runOnce(): Promise<number>;
}

/** How long ended sessions are kept. */
export interface SessionRetention {
  readonly endedDays: number;
  /** Those of guests, of whom there may be many. */
  readonly guestHours: number;
}

/** What the sweeper asks of Postgres. */
export interface SweepStore {
  rescheduleActive(limit: number): Promise<number>;
  findIdle(limit: number): Promise<SessionId[]>;
  findExpired(limit: number): Promise<SessionId[]>;
  /** Impersonations whose actor's session is over. */
  findOrphaned(limit: number): Promise<SessionId[]>;
  touch(touches: readonly Touch[]): Promise<void>;
  deleteEnded(retention: SessionRetention, limit: number): Promise<number>;
  countActive(): Promise<number>;
  runHousekeeping(eventDays: number): Promise<number>;
}

interface SweeperDeps extends SessionRetention {
  readonly now: () => number;
  readonly log: Logger;
  readonly store: SweepStore;
  /** Activities that Postgres does not know of yet. */
  readonly pending: (ids: readonly SessionId[]) => Promise<(number | undefined)[]>;
  readonly end: (ids: readonly SessionId[], reason: EndReason, actor: Actor) => Promise<{ ended: number }>;
  readonly intervalMs: number;
  readonly eventDays: number;
  /** Makes addresses that are stored already as strict as the setting asks, a part in each round. */
  readonly rewriteAddresses: () => Promise<void>;
  readonly onSwept: (result: { deleted: number }) => void;
  /** Told every minute how many sessions there are. */
  readonly onCounted: (active: number) => void;
}

const BATCH = 500;
const DELETE_BATCH = 1000;
const HOUSEKEEPING_MS = 3_600_000;
const CENSUS_MS = 60_000;

/** Sweeps every `intervalMs`, one round at a time, and keeps house every hour. */
export const createExpirySweeper = (deps: SweeperDeps): ExpirySweeper => {
  let running: Promise<number> | undefined;
  let keptAt = Number.NEGATIVE_INFINITY;
  let countedAt = Number.NEGATIVE_INFINITY;

  const round = async (): Promise<number> => {
    const expired = await deps.store.findExpired(BATCH);
    const ended = expired.length === 0 ? 0 : (await deps.end(expired, 'expired', SYSTEM)).ended;
    const orphaned = await deps.store.findOrphaned(BATCH);
    if (orphaned.length > 0) await deps.end(orphaned, 'actor_ended', SYSTEM);
    await deps.store.rescheduleActive(BATCH);
    const idle = await endIdle(deps);
    const deleted = await deps.store.deleteEnded(deps, DELETE_BATCH);
    if (deps.now() - keptAt > HOUSEKEEPING_MS) {
      await deps.store.runHousekeeping(deps.eventDays);
      keptAt = deps.now();
    }
    if (deps.now() - countedAt > CENSUS_MS) {
      countedAt = deps.now();
      deps.onCounted(await deps.store.countActive());
    }
    await deps.rewriteAddresses();
    deps.onSwept({ deleted });
    return ended + idle;
  };
  const runOnce = (): Promise<number> => {
    running ??= round()
      .catch((error: unknown) => {
        deps.log.debug({ error }, 'session.expiry_sweep_failed');
        return 0;
      })
      .finally(() => {
        running = undefined;
      });
    return running;
  };
  const stop = every(deps.intervalMs, () => void runOnce());
  return {
    runOnce,
    [Symbol.asyncDispose]: async () => {
      stop();
      await running;
    },
  };
};

/** Nobody is ended for silence before Redis was asked for activity on its way: with Redis away, nobody is. */
const endIdle = async ({ store, pending, end }: SweeperDeps): Promise<number> => {
  const ids = await store.findIdle(BATCH);
  if (ids.length === 0) return 0;
  const waiting = await pending(ids);
  const active = ids.flatMap((id, at) => {
    const touchedAt = waiting[at];
    return touchedAt === undefined ? [] : [{ id, at: touchedAt }];
  });
  if (active.length > 0) await store.touch(active);
  const saved = new Set(active.map(({ id }) => id));
  const silent = ids.filter((id) => !saved.has(id));
  return silent.length === 0 ? 0 : (await end(silent, 'idle', SYSTEM)).ended;
};
