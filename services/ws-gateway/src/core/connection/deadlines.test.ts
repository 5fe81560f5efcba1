import type { GroupName } from '@muster/protocol/ids';
import { expect, test } from 'vitest';
import { Deadlines } from './deadlines.ts';

const GRACE_MS = 25_000;

test('[HB2] given ping, pong, session, token and membership deadlines, when the next is computed, then it is the earliest', () => {
  const due = new Deadlines({ now: () => 0, monotonic: () => 0 });
  due.startPings(1_000, 500);
  expect([due.next(1_000, 200), due.isPingDue(1_499), due.isPingDue(1_500)]).toEqual([1_500, false, true]);
  due.onPinged(1_500, 2_000);
  expect([due.next(1_500, 200), due.isPongLate(1_699, 200), due.isPongLate(1_700, 200)]).toEqual([
    ...[1_700, false, true],
  ]);
  expect(due.onAnswered(1_600)).toBe(100);
  expect([due.mayProbe(2_599), due.mayProbe(2_600)]).toEqual([false, true]);
  due.expireGroup('a' as GroupName, 1_800 - GRACE_MS);
  due.expireGroup('b' as GroupName, 1_900 - GRACE_MS);
  due.refreshBy = 1_850;
  expect(due.next(1_600, 200)).toBe(1_800);
  expect([...due.takeExpired(1_800), ...due.takeExpired(1_800)]).toEqual(['a']);
  expect(due.next(1_800, 200)).toBe(1_850);
  due.refreshBy = Number.POSITIVE_INFINITY;
  due.removeGroup('b' as GroupName);
  expect(due.next(1_800, 200)).toBe(3_500);
});
