import { expect, test } from 'vitest';
import type { GroupKey } from './group-key.ts';
import { createPresenceQueue, type PresenceBatch } from './presence-write-queue.ts';

const A = 'a' as GroupKey;
const B = 'b' as GroupKey;

/** A store whose writes the test settles. */
const slowStore = () => {
  const writes: { batch: PresenceBatch; done: PromiseWithResolvers<ReadonlyMap<GroupKey, unknown>> }[] = [];
  const writer = createPresenceQueue((batch) => {
    const done = Promise.withResolvers<ReadonlyMap<GroupKey, unknown>>();
    writes.push({ batch, done });
    return done.promise;
  });
  return { writer, writes, turn: () => new Promise((resolve) => setImmediate(() => setImmediate(resolve))) };
};

test('[PR5] given a write in progress, when clients change, then the next write contains all changes', async () => {
  const { writer, writes, turn } = slowStore();
  const first = [writer.set(A, 'ann', '1'), writer.set(B, 'bob', '2')];
  await turn();
  expect(writes).toHaveLength(1);
  const second = [writer.set(A, 'eve', '3'), writer.set(A, 'ann', undefined), writer.set(B, 'eve', '4')];
  await turn();
  expect(writes).toHaveLength(1);
  writes[0]?.done.resolve(new Map());
  await Promise.all(first);
  await turn();
  expect(writes).toHaveLength(2);
  expect([...(writes[1]?.batch.get(A) ?? [])]).toEqual([
    ['eve', '3'],
    ['ann', undefined],
  ]);
  writes[1]?.done.resolve(new Map());
  await Promise.all(second);
});

test('[PR5] given a group that cannot be written, when a batch is written, then only that group fails', async () => {
  const { writer, writes, turn } = slowStore();
  const [good, bad] = [writer.set(A, 'ann', '1'), writer.set(B, 'ann', '1')];
  const failed = expect(bad).rejects.toThrow('wrong');
  await turn();
  writes[0]?.done.resolve(new Map([[B, new Error('wrong')]]));
  await good;
  await failed;
});

test('[PR4] given a store that is down, when a write fails, then its callers fail and the next write does not', async () => {
  const { writer, writes, turn } = slowStore();
  const lost = expect(writer.set(A, 'ann', '1')).rejects.toThrow('away');
  await turn();
  writes[0]?.done.reject(new Error('away'));
  await lost;
  const next = writer.set(A, 'ann', '1');
  await turn();
  writes[1]?.done.resolve(new Map());
  await next;
});

test('[PR5] given many changes, when they are written, then each write has a bounded size', async () => {
  const { writer, writes, turn } = slowStore();
  const all = Array.from({ length: 2_500 }, (_, at) => writer.set(`g${at}` as GroupKey, 'ann', '1'));
  for (let at = 0; at < 3; at += 1) {
    await turn();
    writes[at]?.done.resolve(new Map());
  }
  await Promise.all(all);
  expect(writes.map(({ batch }) => batch.size)).toEqual([1_000, 1_000, 500]);
});
