import { TimeoutError, within } from '@muster/kit/clock';
import { AppError } from '@muster/protocol/errors';
import type { SessionId } from '@muster/session/token';
import type { SessionRecord } from './session.ts';

/** Loads sessions one by one for its callers, and many at once from the store. */
export interface SnapshotLoader {
  /**
   * Undefined when nobody knows the id. Rejects with `OVERLOADED` when too many wait already, or when the store has
   * not answered before the deadline.
   */
  load(id: SessionId): Promise<SessionRecord | undefined>;
}

interface LoaderOptions {
  readonly findMany: (ids: readonly SessionId[]) => Promise<SessionRecord[]>;
  /** Statements under way at once. */
  readonly maxConcurrent: number;
  /** Ids of one statement. */
  readonly maxBatch?: number;
  /** Ids that wait for a statement. */
  readonly maxWaiting?: number;
  /** Longest wait of one caller, in ms; the statement itself goes on. */
  readonly deadlineMs?: number;
}

const DEADLINE_MS = 2000;

type Waiting = PromiseWithResolvers<SessionRecord | undefined>;

/**
 * The first request goes out at once; those that come while all statements are under way wait together for the
 * next one. Requests for the same id share one answer.
 */
export const createSnapshotLoader = (options: LoaderOptions): SnapshotLoader => {
  const { findMany, maxConcurrent, maxBatch = 200, maxWaiting = 2000, deadlineMs = DEADLINE_MS } = options;
  const waiting = new Map<SessionId, Waiting>();
  let running = 0;

  const next = (): void => {
    if (running >= maxConcurrent || waiting.size === 0) return;
    const batch = new Map([...waiting].slice(0, maxBatch));
    for (const id of batch.keys()) waiting.delete(id);
    running += 1;
    void settle(batch, findMany).finally(() => {
      running -= 1;
      next();
    });
  };

  const load = (id: SessionId): Promise<SessionRecord | undefined> => {
    const known = waiting.get(id);
    if (known) return known.promise;
    if (waiting.size >= maxWaiting) return Promise.reject(new AppError('OVERLOADED', { retryAfterS: 1 }));
    const made: Waiting = Promise.withResolvers();
    waiting.set(id, made);
    // One turn of the event loop gathers what arrives together.
    setImmediate(next);
    return made.promise;
  };

  return {
    load: async (id) => {
      try {
        return await within(deadlineMs, 'reading a session', load(id));
      } catch (error) {
        if (!(error instanceof TimeoutError)) throw error;
        throw new AppError('OVERLOADED', { retryAfterS: 1, cause: error });
      }
    },
  };
};

const settle = async (
  batch: ReadonlyMap<SessionId, Waiting>,
  findMany: LoaderOptions['findMany'],
): Promise<void> => {
  try {
    const found = new Map((await findMany([...batch.keys()])).map((record) => [record.id, record]));
    for (const [id, { resolve }] of batch) resolve(found.get(id));
  } catch (error) {
    for (const { reject } of batch.values()) reject(error);
  }
};
