import { createInMemoryLog } from '@muster/testkit/in-memory-log';
import { expect, test } from 'vitest';
import { createOutboxRelay } from './outbox-relay.ts';
import type { OutboxEntry } from './ports.ts';

/** An outbox in memory; `broken` rows are never delivered. */
const world = (count: number, broken: readonly number[] = []) => {
  const rows = Array.from(
    { length: count },
    (_, at): OutboxEntry => ({
      outboxId: String(at + 1),
      change: { k: 'end', sessions: [], why: 'logout', at: 0 },
    }),
  );
  const state = { rows, isDown: false, delivered: [] as string[], waiting: -1, tries: 0 };
  const relay = createOutboxRelay({
    log: createInMemoryLog(),
    pollMs: 1_000_000,
    onWaiting: (waiting) => {
      state.waiting = waiting;
    },
    outbox: {
      pending: async (_ageMs, limit, after) =>
        state.rows.filter(({ outboxId }) => Number(outboxId) > Number(after)).slice(0, limit),
      remove: async (ids) => {
        state.rows = state.rows.filter(({ outboxId }) => !ids.includes(outboxId));
      },
    },
    propagation: {
      redeliver: async ({ outboxId }) => {
        state.tries += 1;
        if (state.isDown || broken.includes(Number(outboxId))) throw new Error('not delivered');
        state.delivered.push(outboxId);
      },
    },
  });
  return { state, relay };
};

test('[SE20] given several pages, rows are delivered once in order', async () => {
  const { state, relay } = world(250);
  expect(await relay.runOnce()).toBe(250);
  expect(state.delivered.map(Number)).toEqual(Array.from({ length: 250 }, (_, at) => at + 1));
  expect(state.rows).toEqual([]);
  expect(state.waiting).toBe(0);
});

test('[SE20] given a row that cannot be delivered, it stays and blocks no other', async () => {
  const { state, relay } = world(150, [1, 120]);
  expect(await relay.runOnce()).toBe(148);
  expect(state.rows.map(({ outboxId }) => outboxId)).toEqual(['1', '120']);
  expect(state.waiting).toBe(2);
});

test('[SE20] given no Redis, one page is tried and nothing is lost', async () => {
  const { state, relay } = world(250);
  state.isDown = true;
  expect(await relay.runOnce()).toBe(0);
  expect(state.tries).toBe(100);
  expect(state.waiting).toBe(100);
  state.isDown = false;
  expect(await relay.runOnce()).toBe(250);
  await relay[Symbol.asyncDispose]();
});
