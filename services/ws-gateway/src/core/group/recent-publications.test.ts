import type { BusMessage } from '@muster/bus/envelope';
import { expect, test } from 'vitest';
import { RecentPublications } from './recent-publications.ts';

const CLOCK = { monotonic: () => 0 };
const message = (offset: number, bytes = 10, epoch = 'e'): BusMessage => ({
  ...{ kind: 'publication', body: Buffer.alloc(bytes, offset), dataAt: 0, dataLength: 0, attributes: [] },
  ...{ offset, epoch },
});
const messages = (from: number, to: number, bytes?: number): BusMessage[] =>
  Array.from({ length: to - from + 1 }, (_, at) => message(from + at, bytes));
const ringWith = (...held: BusMessage[]) => {
  const budget = { maxBytes: 1_000_000, usedBytes: 0 };
  const ring = new RecentPublications(budget, CLOCK, 1_000);
  for (const one of held) ring.push(one);
  return { ring, budget };
};
const offsetsAfter = (ring: RecentPublications, offset: number) => ring.after(offset)?.map((one) => one.offset);

test('[RC6] given publications read from the stream, when they precede those in memory, then both serve recoveries', () => {
  const { ring, budget } = ringWith(...messages(5, 6));
  ring.backfill(messages(2, 4), 7);
  expect(offsetsAfter(ring, 1)).toEqual([2, 3, 4, 5, 6]);
  expect(ring.after(0)).toBeUndefined();
  expect(ring.get(3)?.offset).toBe(3);
  expect(budget.usedBytes).toBe(50);
  ring.clear();
  expect(budget.usedBytes).toBe(0);
});

test('[RC6] given an empty memory, when publications end at the position of the group, then they are kept, and others are not', () => {
  const { ring } = ringWith();
  ring.backfill(messages(2, 4), 6);
  expect(ring.first).toBeUndefined();
  ring.backfill(messages(2, 5), 6);
  ring.push(message(6));
  expect(offsetsAfter(ring, 3)).toEqual([4, 5, 6]);
});

test('[RC14] given a gap in what was read or before the memory, when publications are added, then it is not bridged', () => {
  const { ring } = ringWith(message(9));
  ring.backfill([message(4), message(6), message(7), message(8)], 10);
  expect(ring.first).toBe(6);
  ring.backfill(messages(2, 3), 10);
  expect(ring.first).toBe(6);
});

test('[RC17] given more publications than the bounds, when they are added, then the newest are kept', () => {
  const { ring } = ringWith(message(200));
  ring.backfill(messages(50, 199), 201);
  expect(ring.first).toBe(101);
  const { ring: heavy } = ringWith(message(200));
  heavy.backfill(messages(100, 199, 10_000), 201);
  expect(heavy.first).toBe(194);
  const poor = new RecentPublications({ maxBytes: 25, usedBytes: 0 }, CLOCK, 1_000);
  poor.backfill(messages(1, 9), 10);
  expect(poor.first).toBe(8);
});

test('[RC16] given a history size, when it shrinks, then memory holds no more than it', () => {
  const budget = { maxBytes: 1_000_000, usedBytes: 0 };
  const ring = new RecentPublications(budget, CLOCK, 3);
  for (const one of messages(1, 5)) ring.push(one);
  expect(offsetsAfter(ring, 2)).toEqual([3, 4, 5]);
  expect(ring.after(1)).toBeUndefined();
  ring.resize(2);
  expect(ring.first).toBe(4);
  expect(budget.usedBytes).toBe(20);
  ring.backfill(messages(1, 3), 6);
  expect(ring.first).toBe(4);
});

test('[RC7] given removed publications, when memory drops them, then the rest stays', () => {
  const { ring, budget } = ringWith(...messages(1, 5));
  ring.dropThrough(3);
  expect(offsetsAfter(ring, 3)).toEqual([4, 5]);
  expect(ring.after(2)).toBeUndefined();
  expect(budget.usedBytes).toBe(20);
  ring.dropThrough(9);
  expect([ring.first, budget.usedBytes]).toEqual([undefined, 0]);
});
