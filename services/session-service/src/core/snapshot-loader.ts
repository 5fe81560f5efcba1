import { TimeoutError, within } from '@muster/kit/clock';
import { AppError } from '@muster/protocol/errors';
import type { SessionId } from '@muster/session/token';
import type { SessionRecord } from './session-record.ts';

/** Reads single sessions in batches. */
export type SnapshotLoader = ReturnType<typeof createSnapshotLoader>;

interface LoaderOptions {
  readonly findMany: (ids: readonly SessionId[]) => Promise<SessionRecord[]>;
  /** Most concurrent statements. */
  readonly maxConcurrent: number;
  /** Most ids of one statement. */
  readonly maxBatch?: number;
  /** Most ids that wait for a statement. */
  readonly maxWaiting?: number;
  /** Longest wait of a caller, in ms; the statement is not cancelled. */
  readonly deadlineMs?: number;
}

const DEADLINE_MS = 2000;

type Waiting = PromiseWithResolvers<SessionRecord | undefined>;

/**
 * Batches reads: a request is sent in the current turn of the event loop; while all statements are in use, requests
 * wait for the next statement together. Requests for the same id share one result.
 */
export const createSnapshotLoader = (options: LoaderOptions) => {
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

  const enqueue = (id: SessionId): Promise<SessionRecord | undefined> => {
    const queued = waiting.get(id);
    if (queued) return queued.promise;
    if (waiting.size >= maxWaiting) return Promise.reject(new AppError('OVERLOADED', { retryAfterS: 1 }));
    const request: Waiting = Promise.withResolvers();
    waiting.set(id, request);
    // Requests of one turn of the event loop share a statement.
    setImmediate(next);
    return request.promise;
  };

  return {
    /**
     * Undefined for an unknown id. Rejects with `OVERLOADED` when 2,000 ids wait, or without an answer before the
     * deadline.
     */
    load: async (id: SessionId): Promise<SessionRecord | undefined> => {
      try {
        return await within(deadlineMs, 'reading a session', enqueue(id));
      } catch (error) {
        if (!(error instanceof TimeoutError)) throw error;
        throw new AppError('OVERLOADED', { retryAfterS: 1, cause: error });
      }
    },
  };
};

const settle = async (batch: ReadonlyMap<SessionId, Waiting>, findMany: LoaderOptions['findMany']): Promise<void> => {
  try {
    const found = new Map((await findMany([...batch.keys()])).map((record) => [record.id, record]));
    for (const [id, { resolve }] of batch) resolve(found.get(id));
  } catch (error) {
    for (const { reject } of batch.values()) reject(error);
  }
};
