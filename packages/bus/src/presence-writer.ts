import type { GroupName } from '@muster/protocol/ids';

/** What shall hold for some clients of one group: a value, or undefined to be gone. */
export type PresenceChanges = ReadonlyMap<string, string | undefined>;

/** Gathers the changes of one turn, so that a thousand clients coming at once are one command per group. */
export interface PresenceWriter {
  /** Resolves when it is written; rejects with what `write` rejects with. */
  set(group: GroupName, client: string, value: string | undefined): Promise<void>;
}

interface Batch {
  readonly changes: Map<string, string | undefined>;
  readonly written: PromiseWithResolvers<void>;
}

export const createPresenceWriter = (
  write: (group: GroupName, changes: PresenceChanges) => Promise<void>,
): PresenceWriter => {
  const batches = new Map<GroupName, Batch>();

  const flush = (): void => {
    const due = [...batches];
    batches.clear();
    for (const [group, { changes, written }] of due)
      write(group, changes).then(written.resolve, written.reject);
  };
  return {
    set: (group, client, value) => {
      if (batches.size === 0) setImmediate(flush);
      let batch = batches.get(group);
      if (batch === undefined) {
        batch = { changes: new Map(), written: Promise.withResolvers() };
        batches.set(group, batch);
      }
      batch.changes.set(client, value);
      return batch.written.promise;
    },
  };
};
