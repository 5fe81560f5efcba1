import { createFakeClock } from '@muster/testkit/fake-clock';
import { expect, test } from 'vitest';
import { createWindowCounter } from './rate-limit-window.ts';

test('[SE42] given a window, each key has its limit, and again in the next window', () => {
  const clock = createFakeClock();
  const counter = createWindowCounter({ clock, perWindow: 2, windowMs: 10_000 });
  expect(counter.consume('a')).toEqual({ ok: true, limit: 2, remaining: 1, resetS: 10 });
  expect(counter.consume('a').ok).toBe(true);
  expect(counter.peek('a').ok).toBe(false);
  expect(counter.consume('a')).toMatchObject({ ok: false, remaining: 0 });
  expect(counter.consume('b').ok).toBe(true);
  clock.advance(9_500);
  expect(counter.peek('a').resetS).toBe(1);
  clock.advance(500);
  expect(counter.consume('a')).toMatchObject({ ok: true, remaining: 1 });
});

test('[SE42] given zero, the limit is off; many keys use bounded memory', () => {
  const off = createWindowCounter({ clock: createFakeClock(), perWindow: 0 });
  for (let n = 0; n < 100; n += 1) expect(off.consume('a').ok).toBe(true);
  const bounded = createWindowCounter({ clock: createFakeClock(), perWindow: 1, maxKeys: 3 });
  for (const key of ['a', 'b', 'c', 'd']) bounded.consume(key);
  expect(bounded.peek('a').ok).toBe(true);
});

test('[GC4] given many new keys, a key at its limit stays refused', () => {
  const counter = createWindowCounter({ clock: createFakeClock(), perWindow: 3, maxKeys: 1_000 });
  for (let times = 0; times < 4; times += 1) counter.consume('guilty');
  expect(counter.peek('guilty').ok).toBe(false);
  for (let n = 0; n < 10_000; n += 1) expect(counter.consume(`flood-${n}`).ok).toBe(true);
  expect(counter.peek('guilty').ok).toBe(false);
  expect(counter.consume('guilty').ok).toBe(false);
});
