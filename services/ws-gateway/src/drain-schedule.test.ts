import fc from 'fast-check';
import { expect, test } from 'vitest';
import { CLOSE_GRACE_MS, drainPlan, SLOT_MS } from './drain.ts';

const RELAXED = { acceptMs: 3_000, timeoutMs: 120_000 };
const windowOf = (count: number, limits = RELAXED): number => drainPlan(count, limits).slots.length * SLOT_MS;

test('[DR2] given a number of connections, when a drain is planned, then it takes 5 s to 60 s at 400 per second', () => {
  expect([200, 2_000, 10_000, 100_000].map((count) => windowOf(count))).toEqual([5_000, 5_000, 25_000, 60_000]);
});

test('[DR2] given a few connections, when a drain is planned, then ten are closed per second', () => {
  expect([0, 1, 10, 40].map((count) => windowOf(count))).toEqual([SLOT_MS, 100, 1_000, 4_000]);
});

test('[DR2] given a deadline, when a drain is planned, then it takes precedence over the window', () => {
  const limits = { acceptMs: 3_000, timeoutMs: 30_000 };
  expect(windowOf(20_000, limits)).toBe(18_000);
  expect(drainPlan(20_000, { acceptMs: 3_000, timeoutMs: 2_000 }).acceptMs).toBe(500);
});

test('[DR2] given any connections, when a drain is planned, then each has one slot, in order, even and before the deadline', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 0, max: 100_000 }),
      fc.integer({ min: 0, max: 10_000 }),
      fc.integer({ min: 100, max: 200_000 }),
      (count, acceptMs, timeoutMs) => {
        const plan = drainPlan(count, { acceptMs, timeoutMs });
        const sizes = plan.slots.map(({ from, to }) => to - from);
        expect(plan.slots[0]?.from).toBe(0);
        expect(plan.slots.at(-1)?.to).toBe(count);
        for (const [index, { from }] of plan.slots.entries()) {
          if (index > 0) expect(from).toBe(plan.slots[index - 1]?.to);
        }
        expect(Math.max(...sizes) - Math.min(...sizes)).toBeLessThanOrEqual(1);
        if (timeoutMs >= 5_000) {
          const whole = plan.acceptMs + plan.slots.length * SLOT_MS + CLOSE_GRACE_MS;
          expect(whole).toBeLessThan(timeoutMs);
        }
      },
    ),
    { numRuns: 60 },
  );
});
