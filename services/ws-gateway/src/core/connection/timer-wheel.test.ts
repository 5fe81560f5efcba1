import fc from 'fast-check';
import { expect, test } from 'vitest';
import { type TimerEntry, TimerWheel } from './timer-wheel.ts';

const item = (onDue: (now: number) => void): TimerEntry => ({
  dueAt: 0,
  wheelSlot: -1,
  wheelIndex: -1,
  onDue,
});

test('[TM1] given a deadline, when time passes, then it fires within one tick, never early', () => {
  const wheel = new TimerWheel({ tickMs: 100, slots: 16, now: 0 });
  const met: number[] = [];
  wheel.put(
    item((now) => met.push(now)),
    250,
  );
  for (let now = 0; now <= 1000; now += 10) wheel.advance(now);
  expect(met).toEqual([300]);
});

test('[TM1] given moved, removed and distant deadlines, when time passes, then each fires once or not at all', () => {
  fc.assert(
    fc.property(
      fc.array(fc.record({ first: fc.nat(5000), moved: fc.option(fc.nat(5000)), removed: fc.boolean() })),
      (plans) => {
        const wheel = new TimerWheel({ tickMs: 50, slots: 8, now: 0 });
        const met = plans.map(() => [] as number[]);
        const items = plans.map((_, index) => item((now) => met[index]?.push(now)));
        for (const [index, { first }] of plans.entries()) wheel.put(items[index]!, first);
        for (const [index, { moved }] of plans.entries()) if (moved !== null) wheel.put(items[index]!, moved);
        for (const [index, { removed }] of plans.entries()) if (removed) wheel.remove(items[index]!);
        for (let now = 0; now <= 6000; now += 25) wheel.advance(now);
        plans.forEach(({ first, moved, removed }, index) => {
          const dueAt = moved ?? first;
          const times = met[index]!;
          expect(times).toHaveLength(removed ? 0 : 1);
          if (removed) return;
          expect(times[0]).toBeGreaterThanOrEqual(dueAt);
          expect(times[0]).toBeLessThanOrEqual(dueAt + 100);
        });
      },
    ),
  );
});

test('[TM2] given a long pause, when it ends, then all due deadlines fire at once', () => {
  const wheel = new TimerWheel({ tickMs: 50, slots: 8, now: 0 });
  let met = 0;
  for (const dueAt of [40, 4000, 90_000])
    wheel.put(
      item(() => met++),
      dueAt,
    );
  wheel.advance(100_000);
  expect(met).toBe(3);
});
