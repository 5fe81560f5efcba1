import { after, every, type Stop, within } from '@muster/kit/clock';
import type { Logger } from '@muster/kit/logger';
import type { Touch, TouchBuffer, TouchThrottle } from '@muster/session/activity';
import type { SessionPresence } from '@muster/session/session-presence';
import type { SessionId } from '@muster/session/token';

/** Takes note of activity and brings it to Postgres in batches. */
export interface ActivityFlusher extends AsyncDisposable {
  /** Notes that a session is in use; free, and never fails. */
  record(session: { readonly id: SessionId; readonly idleSeconds: number }): void;
  /** Brings what waits to Redis, and what waits there to Postgres. Never rejects. */
  flush(): Promise<void>;
  /** The instants that wait, here or in Redis. */
  pending(ids: readonly SessionId[]): Promise<(number | undefined)[]>;
  /**
   * The same within a quarter of a second, with what was used here more often than is told; where Redis does not answer,
   * that alone. Never rejects.
   */
  latest(ids: readonly SessionId[]): Promise<(number | undefined)[]>;
  /** Activities that wait in this process. */
  size(): number;
}

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
/** Activity is in Redis, for all replicas to see, within this time. */
const HAND_OVER_MS = 20;
const LATEST_MS = 250;
const MAX_HELD = 100_000;

/**
 * Activity is held here for a moment, then in Redis, then in one UPDATE for many. While Redis is away it goes
 * straight to Postgres; while Postgres is away it stays where it is. What is on its way is still held.
 */
export const createActivityFlusher = (deps: ActivityFlusherDeps): ActivityFlusher => {
  const { buffer, write, log } = deps;
  const held = new Map<SessionId, number>();
  const used = createUses(deps.now);
  let running: Promise<void> | undefined;
  let stopSoon: Stop | undefined;

  const hold = (touches: readonly Touch[]): void => {
    for (const { id, at } of touches) {
      if (held.size < MAX_HELD || held.has(id)) held.set(id, Math.max(at, held.get(id) ?? 0));
    }
  };
  const waiting = (): Touch[] => [...held].map(([id, at]) => ({ id, at }));
  const bring = async (to: (touches: readonly Touch[]) => Promise<void>): Promise<void> => {
    const touches = waiting();
    if (touches.length === 0) return;
    await to(touches);
    for (const { id, at } of touches) if (held.get(id) === at) held.delete(id);
  };
  const handOver = (): Promise<void> => bring((touches) => buffer.add(touches));
  const handOverSoon = (): void => {
    stopSoon ??= after(HAND_OVER_MS, () => {
      stopSoon = undefined;
      // Without Redis the next flush takes it to Postgres.
      handOver().catch((error: unknown) => log.debug({ error }, 'session.touch_failed'));
    });
  };
  const writeHeld = (): Promise<void> => bring(write);
  const drain = async (): Promise<void> => {
    const touches = await buffer.take(BATCH_PER_SET);
    if (touches.length === 0) return;
    try {
      await write(touches);
    } catch (error) {
      log.debug({ error }, 'session.touch_failed');
      await buffer.add(touches).catch(() => hold(touches));
    }
  };
  const flush = (): Promise<void> => {
    running ??= handOver()
      .catch(writeHeld)
      .then(drain)
      .catch((error: unknown) => log.debug({ error }, 'session.touch_failed'))
      .finally(() => {
        running = undefined;
      });
    return running;
  };
  const stop = every(deps.intervalMs, () => void flush());

  const pending = async (ids: readonly SessionId[]): Promise<(number | undefined)[]> => {
    const inRedis = await buffer.pending(ids);
    return ids.map((id, at) => later(held.get(id), inRedis[at]));
  };

  return {
    record: (session) => {
      used.note(session.id);
      if (!deps.throttle.admits(session)) return;
      hold([{ id: session.id, at: deps.now() }]);
      handOverSoon();
    },
    flush,
    pending,
    latest: async (ids) => {
      const here = ids.map(used.at);
      try {
        const known = await within(LATEST_MS, 'reading activity', pending(ids));
        return ids.map((_, at) => later(here[at], known[at]));
      } catch (error) {
        log.debug({ error }, 'session.touch_unreadable');
        return here;
      }
    },
    size: () => held.size,
    [Symbol.asyncDispose]: async () => {
      stop();
      stopSoon?.();
      await flush();
    },
  };
};

/** Every use at this process; only one per interval goes any further. What was used longest ago is forgotten first. */
const createUses = (now: () => number) => {
  const used = new Map<SessionId, number>();
  return {
    note: (id: SessionId): void => {
      const oldest = used.size >= MAX_HELD ? used.keys().next().value : undefined;
      if (oldest !== undefined) used.delete(oldest);
      used.delete(id);
      used.set(id, now());
    },
    at: (id: SessionId): number | undefined => used.get(id),
  };
};

const later = (one: number | undefined, other: number | undefined): number | undefined =>
  one === undefined || other === undefined ? (one ?? other) : Math.max(one, other);

/** The use of a session that Postgres may not know of yet. */
export interface LatestUse {
  /** Latest activity, in ms since the epoch; undefined where nothing is on its way to Postgres. */
  readonly at: number | undefined;
  /** True while a socket is open; false also where that is not known. */
  readonly isOnline: boolean;
}

/** Answers in the order of the ids, within a quarter of a second; never rejects. */
export type LatestUses = (ids: readonly SessionId[]) => Promise<readonly LatestUse[]>;

/** Activity that was noted and not yet written, and the sockets that gateways report. */
export const createLatestUses =
  (toucher: Pick<ActivityFlusher, 'latest'>, presence: SessionPresence): LatestUses =>
  async (ids) => {
    const [touched, sockets] = await Promise.all([toucher.latest(ids), presence.socketsOf(ids)]);
    return ids.map((_, at) => ({ at: touched[at], isOnline: (sockets[at] ?? 0) > 0 }));
  };
