import fc from 'fast-check';
import { expect, test } from 'vitest';
import { FlapDamping } from './flap-damping.ts';

test('[IS16] when an instance fails four times within a minute, it is flapping; with a failure per day it never is', () => {
  const often = new FlapDamping();
  const seen = [0, 8_000, 16_000, 24_000].map((at) => {
    often.recordFailure(at);
    return often.isFlapping(at);
  });
  expect(seen).toEqual([false, false, false, true]);
  const seldom = new FlapDamping();
  for (let day = 0; day < 30; day += 1) {
    seldom.recordFailure(day * 86_400_000);
    expect(seldom.isFlapping(day * 86_400_000)).toBe(false);
  }
});

test('[IS17] given a flapping instance, it is steady when the penalty has decayed, after 15 minutes at most', () => {
  const damping = new FlapDamping();
  for (let failure = 0; failure < 4; failure += 1) damping.recordFailure(failure * 4_000);
  expect(damping.isFlapping(9 * 60_000)).toBe(true);
  expect(damping.isFlapping(11 * 60_000)).toBe(false);
  const stubborn = new FlapDamping();
  for (let at = 0; at <= 20 * 60_000; at += 4_000) {
    if (at <= 14 * 60_000) stubborn.recordFailure(at);
  }
  expect(stubborn.isFlapping(20 * 60_000)).toBe(false);
});

test('[IS26] given failures with any period, flapping starts at most once in 15 minutes', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1_000, max: 600_000 }), (periodMs) => {
      const damping = new FlapDamping();
      const starts: number[] = [];
      let before = false;
      for (let at = 0; at < 3_600_000; at += periodMs) {
        damping.recordFailure(at);
        const now = damping.isFlapping(at);
        if (now && !before) starts.push(at);
        before = now;
      }
      return starts.every((at, index) => index === 0 || at - (starts[index - 1] ?? 0) >= 15 * 60_000 - periodMs);
    }),
  );
});
