import type { Random } from '@muster/kit/runtime';
import { expect, test } from 'vitest';
import { createProbeScheduler, type PeriodicTarget } from './probe-scheduler.ts';

const fakeClock = () => {
  let at = 0;
  return {
    now: () => at,
    monotonic: () => at,
    advance: (ms: number) => {
      at += ms;
    },
  };
};
const middle: Random = { bytes: (size) => new Uint8Array(size), fraction: () => 0.5 };

const setUp = ({ concurrency = 64, random = middle, durationMs = 0 } = {}) => {
  const clock = fakeClock();
  const targets: PeriodicTarget[] = [];
  const starts: { id: string; at: number }[] = [];
  const lags: number[] = [];
  const running: { endsAt: number; end: () => void }[] = [];
  const scheduler = createProbeScheduler({
    clock,
    random,
    targets: () => targets,
    concurrency,
    onLag: (lag) => lags.push(lag),
    run: ({ id }) => {
      starts.push({ id, at: clock.now() });
      if (durationMs === 0) return Promise.resolve();
      return new Promise((end) => running.push({ endsAt: clock.now() + durationMs, end }));
    },
  });
  const play = async (ms: number, stepMs = 50) => {
    for (let passed = 0; passed < ms; passed += stepMs) {
      clock.advance(stepMs);
      for (const one of running.splice(0)) {
        if (one.endsAt <= clock.now()) one.end();
        else running.push(one);
      }
      await Promise.resolve();
      await Promise.resolve();
      scheduler.tick();
    }
  };
  return { targets, starts, lags, scheduler, play };
};

test('[SC1] given a new target, it is probed within half a second, then once per period', async () => {
  const { targets, starts, play } = setUp();
  targets.push({ id: 'a', periodMs: 2_000 });
  await play(10_000);
  expect(starts[0]?.at).toBeLessThanOrEqual(500);
  const gaps = starts.slice(1).map(({ at }, index) => at - (starts[index]?.at ?? 0));
  for (const gap of gaps) expect(gap).toBe(2_000);
});

test('[SC2] given a period, the intervals of probes vary by at most ten per cent', async () => {
  let seed = 1;
  const random: Random = {
    bytes: (size) => new Uint8Array(size),
    fraction: () => {
      seed = (seed * 16_807) % 2_147_483_647;
      return seed / 2_147_483_647;
    },
  };
  const { targets, starts, play } = setUp({ random });
  targets.push({ id: 'a', periodMs: 1_000 });
  await play(60_000, 10);
  const gaps = starts.slice(1).map(({ at }, index) => at - (starts[index]?.at ?? 0));
  expect(Math.min(...gaps)).toBeGreaterThanOrEqual(900);
  expect(Math.max(...gaps)).toBeLessThanOrEqual(1_110);
  expect(new Set(gaps).size).toBeGreaterThan(10);
});

test('[SC3] [SC7] given slow probes, periods count from start to start, and a target never has two probes at a time', async () => {
  const { targets, starts, play } = setUp({ durationMs: 900 });
  targets.push({ id: 'a', periodMs: 1_000 }, { id: 'b', periodMs: 100 });
  await play(9_600);
  const of = (id: string) => starts.filter((start) => start.id === id).map(({ at }) => at);
  const gapsOf = (ats: number[]) => ats.slice(1).map((at, index) => at - (ats[index] ?? 0));
  for (const gap of gapsOf(of('a'))) expect(gap).toBe(1_000);
  for (const gap of gapsOf(of('b'))) expect(gap).toBeGreaterThanOrEqual(900);
});

test('[SC4] [SC8] given a limit, no more probes run at once, and the longest overdue target is next', async () => {
  const { targets, starts, scheduler, play } = setUp({ concurrency: 2, durationMs: 400 });
  for (const id of ['a', 'b', 'c', 'd']) targets.push({ id, periodMs: 500 });
  let most = 0;
  for (let step = 0; step < 200; step += 1) {
    await play(50);
    most = Math.max(most, scheduler.inFlight);
  }
  expect(most).toBe(2);
  const counts = ['a', 'b', 'c', 'd'].map((id) => starts.filter((start) => start.id === id).length);
  expect(Math.max(...counts) - Math.min(...counts)).toBeLessThanOrEqual(1);
});

test('[SC5] [SC9] when a period changes, it applies at once; when a target is removed, it is not probed again', async () => {
  const { targets, starts, play } = setUp();
  targets.push({ id: 'a', periodMs: 5_000 });
  await play(1_000);
  const before = starts.length;
  targets[0] = { id: 'a', periodMs: 500 };
  await play(100);
  expect(starts.length).toBe(before + 1);
  targets.length = 0;
  await play(5_000);
  expect(starts.length).toBe(before + 1);
});

test('[SC6] given a late start of a probe, its lag is measured', async () => {
  const { targets, lags, play } = setUp();
  targets.push({ id: 'a', periodMs: 1_000 });
  await play(50);
  await play(900, 900);
  // It was seen at 50, due 250 ms later, and started at 950.
  expect(lags[0]).toBe(650);
});
