import { every } from '@muster/kit/clock';
import type { Logger } from '@muster/kit/logger';
import type { SessionId } from '@muster/session/token';
import type { Touch, TouchBuffer, TouchThrottle } from '@muster/session/touch';

/** Takes note of activity and brings it to Postgres in batches. */
export interface Toucher extends AsyncDisposable {
  /** Notes that a session is in use; free, and never fails. */
  note(session: { readonly id: SessionId; readonly idleSeconds: number }): void;
  /** Brings what waits to Redis, and what waits there to Postgres. Never rejects. */
  flush(): Promise<void>;
  /** The instants that wait, here or in Redis. */
  pending(ids: readonly SessionId[]): Promise<(number | undefined)[]>;
  /** Activities that wait in this process. */
  size(): number;
}

interface ToucherDeps {
  readonly now: () => number;
  readonly log: Logger;
  readonly throttle: TouchThrottle;
  readonly buffer: Pick<TouchBuffer, 'add' | 'take' | 'pending'>;
  readonly store: { touch(touches: readonly Touch[]): Promise<void> };
  readonly intervalMs: number;
}

const BATCH_PER_SET = 500;
const MAX_HELD = 100_000;

/**
 * Activity is held here for a moment, then in Redis, then in one UPDATE for many. While Redis is away it goes
 * straight to Postgres; while Postgres is away it goes back to where it was.
 */
export const createToucher = (deps: ToucherDeps): Toucher => {
  const { buffer, store, log } = deps;
  const held = new Map<SessionId, number>();
  let running: Promise<void> | undefined;

  const hold = (touches: readonly Touch[]): void => {
    for (const { id, at } of touches) {
      if (held.size < MAX_HELD || held.has(id)) held.set(id, Math.max(at, held.get(id) ?? 0));
    }
  };
  const release = (): Touch[] => {
    const touches = [...held].map(([id, at]) => ({ id, at }));
    held.clear();
    return touches;
  };
  const handOver = async (): Promise<void> => {
    const touches = release();
    if (touches.length === 0) return;
    try {
      await buffer.add(touches);
    } catch {
      await write(touches, hold);
    }
  };
  const write = async (touches: readonly Touch[], giveBack: (touches: readonly Touch[]) => unknown) => {
    try {
      await store.touch(touches);
    } catch (error) {
      log.debug({ error }, 'session.touch-failed');
      await giveBack(touches);
    }
  };
  const drain = async (): Promise<void> => {
    const touches = await buffer.take(BATCH_PER_SET);
    if (touches.length > 0) await write(touches, (back) => buffer.add(back).catch(() => hold(back)));
  };
  const flush = (): Promise<void> => {
    running ??= handOver()
      .then(drain)
      .catch((error: unknown) => log.debug({ error }, 'session.touch-failed'))
      .finally(() => {
        running = undefined;
      });
    return running;
  };
  const stop = every(deps.intervalMs, () => void flush());

  return {
    note: (session) => {
      if (deps.throttle.admits(session)) hold([{ id: session.id, at: deps.now() }]);
    },
    flush,
    pending: async (ids) => {
      const inRedis = await buffer.pending(ids);
      return ids.map((id, at) => later(held.get(id), inRedis[at]));
    },
    size: () => held.size,
    [Symbol.asyncDispose]: async () => {
      stop();
      await flush();
    },
  };
};

const later = (one: number | undefined, other: number | undefined): number | undefined =>
  one === undefined || other === undefined ? (one ?? other) : Math.max(one, other);
