import { expect, test } from 'vitest';
import { createDeliveryOracle } from './delivery-oracle.ts';

/** Publishes `count` to one group; those in `unknown` are never acknowledged. */
const published = (count: number, unknown: readonly number[] = []) => {
  const oracle = createDeliveryOracle();
  const log = oracle.subscriber('ann', 'g');
  for (let n = 0; n < count; n += 1) {
    const number = oracle.nextPublication('g');
    if (!unknown.includes(number)) oracle.acknowledged('g', number);
  }
  return { oracle, log };
};
const CLEAN = {
  missing: [],
  announced: [],
  announcedLate: [],
  duplicates: [],
  misordered: [],
  unexpected: [],
};

test('[DO1] given every publication once and in order, the report is empty', () => {
  const { oracle, log } = published(3);
  expect(oracle.incompleteSubscribers()).toBe(1);
  for (const n of [0, 1, 2]) log.received(n);
  expect(oracle.incompleteSubscribers()).toBe(0);
  expect(oracle.report()).toEqual({ ...CLEAN, acknowledged: 3, deliveries: 3 });
});

test('[DO2] an acknowledged publication that was not received is missing, at the start, in the middle and at the end', () => {
  const { oracle, log } = published(4);
  log.received(1);
  log.received(2);
  expect(oracle.report().missing).toEqual(['ann g#0', 'ann g#3']);
  const middle = published(3);
  middle.log.received(0);
  middle.log.received(2);
  expect(middle.oracle.report()).toMatchObject({ ...CLEAN, missing: ['ann g#1'] });
});

test('[DO2] a publication that was never acknowledged is not missing', () => {
  const { oracle, log } = published(3, [1, 2]);
  log.received(0);
  log.received(2);
  expect(oracle.report()).toEqual({ ...CLEAN, acknowledged: 1, deliveries: 2 });
});

test('[DO3] a publication received twice is a duplicate, however late, and not misordered', () => {
  const { oracle, log } = published(3);
  for (const n of [0, 0, 1, 2, 1]) log.received(n);
  expect(oracle.report()).toMatchObject({ ...CLEAN, duplicates: ['ann g#0', 'ann g#1'] });
});

test('[DO4] a publication behind a later one is misordered', () => {
  const { oracle, log } = published(3);
  for (const n of [0, 2, 1]) log.received(n);
  expect(oracle.report()).toMatchObject({ ...CLEAN, misordered: ['ann g#1'] });
});

test('[DO5] [DO7] a gap at a resync is announced, a gap before it announced late, any other gap missing', () => {
  const { oracle, log } = published(8);
  log.received(0);
  log.received(2);
  log.resynced();
  log.received(5);
  log.received(7);
  expect(oracle.report()).toMatchObject({
    ...CLEAN,
    missing: ['ann g#6'],
    announcedLate: ['ann g#1'],
    announced: ['ann g#3', 'ann g#4'],
  });
});

test('[DO5] a resync at the end announces what was published before it, and nothing published after it', () => {
  const { oracle, log } = published(2);
  log.received(0);
  log.resynced();
  expect(oracle.report()).toMatchObject({ missing: [], announced: ['ann g#1'] });
  oracle.acknowledged('g', oracle.nextPublication('g'));
  expect(oracle.report()).toMatchObject({ missing: ['ann g#2'], announced: ['ann g#1'] });
});

test('[DO6] only publications of the own group from the subscription on are expected', () => {
  const oracle = createDeliveryOracle();
  oracle.acknowledged('g', oracle.nextPublication('g'));
  oracle.acknowledged('other', oracle.nextPublication('other'));
  const late = oracle.subscriber('bob', 'g');
  oracle.acknowledged('g', oracle.nextPublication('g'));
  late.received(1);
  expect(oracle.report()).toEqual({ ...CLEAN, acknowledged: 3, deliveries: 1 });
});

test('[DO8] a publication that was never published is unexpected', () => {
  const { oracle, log } = published(1);
  log.received(0);
  log.received(7);
  expect(oracle.report()).toMatchObject({ ...CLEAN, unexpected: ['ann g#7'] });
  expect(() => oracle.acknowledged('g', 3)).toThrow(/never published/);
});
