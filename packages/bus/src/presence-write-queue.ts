import type { GroupKey } from './group-key.ts';

/** New values of clients of one group; undefined removes the client. */
export type PresenceChanges = ReadonlyMap<string, string | undefined>;

/** Changes by group. */
export type PresenceBatch = ReadonlyMap<GroupKey, PresenceChanges>;

/** Batches changes during a write, so that thousands of clients that join at once cause a few writes. */
export interface PresenceQueue {
  /** Resolves when the change is written; rejects when `write` rejects or reports the group as failed. */
  set(group: GroupKey, client: string, value: string | undefined): Promise<void>;
}

/** Maximum of changes in one write. */
const MAX_CHANGES = 1_000;

interface Waiting {
  readonly changes: Map<string, string | undefined>;
  readonly written: PromiseWithResolvers<void>;
}

/** One write at a time: `write` resolves with the errors of failed groups, or rejects for all. */
export const createPresenceQueue = (
  write: (batch: PresenceBatch) => Promise<ReadonlyMap<GroupKey, unknown>>,
): PresenceQueue => {
  const waiting = new Map<GroupKey, Waiting>();
  let isBusy = false;

  const nextBatch = (): Map<GroupKey, Waiting> => {
    const batch = new Map<GroupKey, Waiting>();
    let count = 0;
    for (const [group, entry] of waiting) {
      if (count > 0 && count + entry.changes.size > MAX_CHANGES) break;
      count += entry.changes.size;
      batch.set(group, entry);
      waiting.delete(group);
    }
    return batch;
  };
  const writeBatch = async (batch: ReadonlyMap<GroupKey, Waiting>): Promise<void> => {
    try {
      const failed = await write(new Map([...batch].map(([group, { changes }]) => [group, changes])));
      for (const [group, { written }] of batch) {
        if (failed.has(group)) written.reject(failed.get(group));
        else written.resolve();
      }
    } catch (error) {
      for (const { written } of batch.values()) written.reject(error);
    }
  };
  const drain = async (): Promise<void> => {
    while (waiting.size > 0) await writeBatch(nextBatch());
    isBusy = false;
  };
  return {
    set: (group, client, value) => {
      let entry = waiting.get(group);
      if (entry === undefined) {
        entry = { changes: new Map(), written: Promise.withResolvers() };
        waiting.set(group, entry);
      }
      entry.changes.set(client, value);
      if (!isBusy) {
        isBusy = true;
        // Together with the other changes of this turn of the event loop.
        setImmediate(() => void drain());
      }
      return entry.written.promise;
    },
  };
};
