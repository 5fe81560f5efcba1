import type { GroupKey } from './group-key.ts';

/** What shall hold for some clients of one group: a value, or undefined to be gone. */
export type PresenceChanges = ReadonlyMap<string, string | undefined>;

/** The same for many groups at once. */
export type PresenceBatch = ReadonlyMap<GroupKey, PresenceChanges>;

/** Gathers changes while others are being written, so that thousands of clients coming at once are a few writes. */
export interface PresenceQueue {
  /** Resolves when it is written; rejects with what `write` rejects with, or when it names the group. */
  set(group: GroupKey, client: string, value: string | undefined): Promise<void>;
}

/** Changes of one client in one write; a storm larger than this is several. */
const MAX_CHANGES = 1_000;

interface Waiting {
  readonly changes: Map<string, string | undefined>;
  readonly written: PromiseWithResolvers<void>;
}

/** One write at a time: `write` resolves with the groups that could not be written, or rejects for all. */
export const createPresenceQueue = (
  write: (batch: PresenceBatch) => Promise<ReadonlyMap<GroupKey, unknown>>,
): PresenceQueue => {
  const waiting = new Map<GroupKey, Waiting>();
  let isBusy = false;

  const take = (): Map<GroupKey, Waiting> => {
    const taken = new Map<GroupKey, Waiting>();
    let count = 0;
    for (const [group, one] of waiting) {
      if (count > 0 && count + one.changes.size > MAX_CHANGES) break;
      count += one.changes.size;
      taken.set(group, one);
      waiting.delete(group);
    }
    return taken;
  };
  const writeOnce = async (batch: ReadonlyMap<GroupKey, Waiting>): Promise<void> => {
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
  const run = async (): Promise<void> => {
    while (waiting.size > 0) await writeOnce(take());
    isBusy = false;
  };
  return {
    set: (group, client, value) => {
      let one = waiting.get(group);
      if (one === undefined) {
        one = { changes: new Map(), written: Promise.withResolvers() };
        waiting.set(group, one);
      }
      one.changes.set(client, value);
      if (!isBusy) {
        isBusy = true;
        // With whatever else this turn of the event loop brings.
        setImmediate(() => void run());
      }
      return one.written.promise;
    },
  };
};
