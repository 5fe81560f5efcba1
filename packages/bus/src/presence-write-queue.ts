import { flushAtEndOfTurn } from '@muster/kit/end-of-turn';
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

/** The changes of one write, whose callers share a promise. */
interface Waiting {
  readonly groups: Map<GroupKey, Map<string, string | undefined>>;
  count: number;
  readonly written: PromiseWithResolvers<ReadonlyMap<GroupKey, unknown>>;
}

/** One write at a time: `write` resolves with the errors of failed groups, or rejects for all. */
export const createPresenceQueue = (
  write: (batch: PresenceBatch) => Promise<ReadonlyMap<GroupKey, unknown>>,
): PresenceQueue => {
  const waiting: Waiting[] = [];
  let isBusy = false;

  const drain = async (): Promise<void> => {
    for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) {
      const { groups, written } = next;
      await write(groups).then(written.resolve, written.reject);
    }
    isBusy = false;
  };
  const last = (): Waiting => {
    const known = waiting.at(-1);
    if (known !== undefined && known.count < MAX_CHANGES) return known;
    const added: Waiting = { groups: new Map(), count: 0, written: Promise.withResolvers() };
    waiting.push(added);
    return added;
  };
  return {
    set: async (group, client, value) => {
      const batch = last();
      const changes = batch.groups.get(group);
      batch.count += 1;
      if (changes === undefined) batch.groups.set(group, new Map([[client, value]]));
      else changes.set(client, value);
      if (!isBusy) {
        isBusy = true;
        flushAtEndOfTurn('redis_commands', { flush: () => void drain() });
      }
      const failed = await batch.written.promise;
      if (failed.has(group)) throw failed.get(group);
    },
  };
};
