import { systemClock } from '@muster/kit/clock';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { createFanoutScheduler } from './fanout-scheduler.ts';

const WINDOW_MS = 5;

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

/** A group that records how long each publication waited, and how many shared its write. */
const groupOf = (members: number) => {
  const scheduler = createFanoutScheduler(systemClock, WINDOW_MS);
  let arrivals: number[] = [];
  let writtenAt = Number.NEGATIVE_INFINITY;
  const waits: number[] = [];
  const writes: number[] = [];
  const task = {
    proceed: () => false,
    flush: () => {
      writtenAt = scheduler.now();
      waits.push(...arrivals.map((at) => Math.round(writtenAt - at)));
      writes.push(arrivals.length);
      arrivals = [];
    },
  };
  const publish = (): void => {
    arrivals.push(scheduler.now());
    if (arrivals.length === 1) scheduler.flushLater(task, members, writtenAt);
  };
  return { publish, waits, writes };
};

test.each([
  ['166/s to 1000 members', 1_000, 6],
  ['500/s to 50 members', 50, 2],
  ['1000/s to 10 members', 10, 1],
])('[OB5] given a stream of %s, when publications are made, then none waits', async (_, members, everyMs) => {
  const { publish, waits } = groupOf(members);
  for (let count = 0; count < 100; count += 1) {
    publish();
    await vi.advanceTimersByTimeAsync(everyMs);
  }
  expect(waits).toEqual(Array(100).fill(0));
});

test('[OB16] given a group of 31 members and a publisher that waits for its echo, when it publishes, then no publication waits for the window', async () => {
  const { publish, waits } = groupOf(31);
  for (let count = 0; count < 100; count += 1) {
    publish();
    await vi.advanceTimersByTimeAsync(0);
  }
  expect(waits).toEqual(Array(100).fill(0));
});

test('[OB11] given 160 members or more and a publication within the window after a write, when others follow, then all are written together at its end', async () => {
  const { publish, waits, writes } = groupOf(160);
  publish();
  await vi.advanceTimersByTimeAsync(2);
  for (let count = 0; count < 3; count += 1) {
    publish();
    await vi.advanceTimersByTimeAsync(1);
  }
  expect([waits, writes]).toEqual([
    [0, 3, 2, 1],
    [1, 3],
  ]);
});

test.each([1, 1_000])(
  '[OB17] given %i members, when one turn brings several publications, then they are one write',
  async (members) => {
    const { publish, writes } = groupOf(members);
    for (let count = 0; count < 16; count += 1) publish();
    await vi.advanceTimersByTimeAsync(0);
    expect(writes).toEqual([16]);
  },
);
