import { after, type Stop, within } from '@muster/kit/clock';
import type { Logger } from '@muster/kit/logger';
import { createPeriodicJob } from '@muster/kit/periodic-job';
import type { Touch, TouchBuffer, TouchThrottle } from '@muster/session/activity';
import type { SessionPresence } from '@muster/session/session-presence';
import type { SessionId } from '@muster/session/token';

interface ActivityFlusherDeps {
  readonly now: () => number;
  readonly log: Logger;
  readonly throttle: TouchThrottle;
  readonly buffer: Pick<TouchBuffer, 'add' | 'take' | 'pending'>;
  /** Writes a batch to Postgres. */
  readonly write: (touches: readonly Touch[]) => Promise<void>;
  readonly intervalMs: number;
}

const BATCH_PER_SET = 500;
/** Delay before activity is written to Redis, where all replicas read it. */
const BUFFER_DELAY_MS = 20;
const LATEST_MS = 250;
const MAX_HELD = 100_000;

/**
 * Collects session activity in memory, moves it to Redis after 20 ms, and to Postgres in one UPDATE per batch. Without
 * Redis it is written to Postgres directly; without Postgres it stays where it is. Entries are kept until the next
 * store has taken them.
 */
export const createActivityFlusher = (deps: ActivityFlusherDeps) => {
  const { buffer, write, log } = deps;
  const held = new Map<SessionId, number>();
  const uses = createLocalUses(deps.now);
  let cancelMove: Stop | undefined;

  const hold = (touches: readonly Touch[]): void => {
    for (const { id, at } of touches) {
      if (held.size < MAX_HELD || held.has(id)) held.set(id, Math.max(at, held.get(id) ?? 0));
    }
  };
  const moveTo = async (store: (touches: readonly Touch[]) => Promise<void>): Promise<void> => {
    const touches = [...held].map(([id, at]) => ({ id, at }));
    if (touches.length === 0) return;
    await store(touches);
    for (const { id, at } of touches) if (held.get(id) === at) held.delete(id);
  };
  const logFailure = (error: unknown): void => log.debug({ error }, 'session.touch_failed');
  const moveToBuffer = (): Promise<void> => moveTo((touches) => buffer.add(touches));
  const scheduleMove = (): void => {
    cancelMove ??= after(BUFFER_DELAY_MS, () => {
      cancelMove = undefined;
      // On failure the next flush writes to Postgres.
      moveToBuffer().catch(logFailure);
    });
  };
  const writeBuffered = async (): Promise<void> => {
    const touches = await buffer.take(BATCH_PER_SET);
    if (touches.length === 0) return;
    try {
      await write(touches);
    } catch (error) {
      logFailure(error);
      await buffer.add(touches).catch(() => hold(touches));
    }
  };
  /** Moves what is held to Redis, and what is in Redis to Postgres. Never rejects. */
  const job = createPeriodicJob(deps.intervalMs, () =>
    moveToBuffer()
      .catch(() => moveTo(write))
      .then(writeBuffered)
      .catch(logFailure),
  );

  /** Instants of activity that is not in Postgres yet, in ms since the epoch. Rejects when Redis is unavailable. */
  const pending = async (ids: readonly SessionId[]): Promise<(number | undefined)[]> => {
    const buffered = await buffer.pending(ids);
    return ids.map((id, at) => latestOf(held.get(id), buffered[at]));
  };

  return {
    /** Records that a session is in use. Without I/O; never throws. */
    record: (session: { readonly id: SessionId; readonly idleSeconds: number }): void => {
      uses.record(session.id);
      if (!deps.throttle.admits(session)) return;
      hold([{ id: session.id, at: deps.now() }]);
      scheduleMove();
    },
    flush: job.runOnce,
    pending,
    /** As `pending`, with uses at this process that the throttle held back; those alone without an answer of Redis in 250 ms. Never rejects. */
    latest: async (ids: readonly SessionId[]): Promise<(number | undefined)[]> => {
      const local = ids.map(uses.at);
      try {
        const stored = await within(LATEST_MS, 'reading activity', pending(ids));
        return ids.map((_, at) => latestOf(local[at], stored[at]));
      } catch (error) {
        log.debug({ error }, 'session.touch_unreadable');
        return local;
      }
    },
    /** Entries held in this process. */
    size: (): number => held.size,
    [Symbol.asyncDispose]: async (): Promise<void> => {
      cancelMove?.();
      await job.runOnce();
      await job[Symbol.asyncDispose]();
    },
  };
};

/** Every use at this process; the throttle forwards one per interval. The least recently used session is dropped first. */
const createLocalUses = (now: () => number) => {
  const usedAt = new Map<SessionId, number>();
  return {
    record: (id: SessionId): void => {
      const oldest = usedAt.size >= MAX_HELD ? usedAt.keys().next().value : undefined;
      if (oldest !== undefined) usedAt.delete(oldest);
      usedAt.delete(id);
      usedAt.set(id, now());
    },
    at: (id: SessionId): number | undefined => usedAt.get(id),
  };
};

const latestOf = (one: number | undefined, other: number | undefined): number | undefined =>
  one === undefined || other === undefined ? (one ?? other) : Math.max(one, other);

/** The use of a session that Postgres may not have recorded yet. */
export interface LatestUse {
  /** Latest activity in ms since the epoch; undefined without pending activity. */
  readonly at: number | undefined;
  /** True while a socket is open; false when that is not known. */
  readonly isOnline: boolean;
}

/** Resolves in the order of the ids, within 250 ms. Never rejects. */
export type LatestUses = (ids: readonly SessionId[]) => Promise<readonly LatestUse[]>;

/** Combines pending activity with the open sockets that gateways report. */
export const createLatestUses =
  (activity: Pick<ReturnType<typeof createActivityFlusher>, 'latest'>, presence: SessionPresence): LatestUses =>
  async (ids) => {
    const [touchedAt, sockets] = await Promise.all([activity.latest(ids), presence.socketsOf(ids)]);
    return ids.map((_, at) => ({ at: touchedAt[at], isOnline: (sockets[at] ?? 0) > 0 }));
  };
