import type { CloseCode } from '@muster/protocol/codes';
import { expect, test } from 'vitest';
import { createDrain, type DrainableConnection } from './drain.ts';

/** Connections that record the order in which they are closed. Those with `isMoving` open another connection when requested. */
const crowd = (lags: readonly number[], isMoving: (index: number) => boolean = () => false) => {
  const present = new Set<DrainableConnection>();
  const told: string[] = [];
  const cut: string[] = [];
  for (const [index, lagBytes] of lags.entries()) {
    const id = `c${index}`;
    const one: DrainableConnection = {
      lagBytes,
      get isClosed() {
        return !present.has(one);
      },
      requestMove: () => {
        if (!isMoving(index)) return false;
        told.push(`${id} moves`);
        // The second of them does not leave by itself.
        if (index !== 1) setImmediate(() => present.delete(one));
        return true;
      },
      close: (code: CloseCode) => {
        if (present.delete(one)) told.push(`${id} ${code}`);
      },
      terminate: () => cut.push(id),
    };
    present.add(one);
  }
  return { present, told, cut };
};

const drainOf = (present: Set<DrainableConnection>, options: { acceptMs?: number; timeoutMs?: number } = {}) => {
  const departures: string[] = [];
  let now = 0;
  const drain = createDrain({
    connections: () => present,
    listener: { drain: async () => {}, resume: async () => {} },
    // Late by more than any slot, as on a busy machine: nothing waits.
    clock: { now: () => 0, monotonic: () => (now += 1_000) },
    acceptMs: options.acceptMs ?? 0,
    timeoutMs: options.timeoutMs ?? 30_000,
    onStarted: () => {},
    onRemaining: () => {},
    onDrained: (how) => departures.push(how),
  });
  return { drain, departures };
};
const gone = AbortSignal.abort();

test('[DR3] given connections with pending bytes, when the gateway drains, then those with the most are closed last', async () => {
  const { present, told } = crowd([500, 0, 9_000, 20]);
  const { drain } = drainOf(present);
  const stop = new AbortController();
  const running = drain.run(stop.signal);
  while (present.size > 0) await new Promise((resolve) => setImmediate(resolve));
  stop.abort();
  await running;
  expect(told).toEqual(['c1 3001', 'c3 3001', 'c0 3001', 'c2 3001']);
});

test('[DR4] given open connections, when the deadline passes, then they are terminated', async () => {
  const { present, cut } = crowd([0, 0, 0]);
  const { drain, departures } = drainOf(present);
  await drain.run(gone);
  expect(cut).toEqual(['c0', 'c1', 'c2']);
  expect(departures).toEqual(['cut', 'cut', 'cut']);
  expect(drain.isClosed()).toBe(true);
});

test('[DR11] given a drain, when it is cancelled, then remaining connections stay and the gateway accepts upgrades', async () => {
  const { present, told, cut } = crowd([0, 0]);
  const { drain } = drainOf(present, { acceptMs: 10_000, timeoutMs: 60_000 });
  const running = drain.run(new AbortController().signal);
  expect(drain.isClosed()).toBe(false);
  await drain.cancel();
  await running;
  expect(drain.isClosed()).toBe(false);
  expect([told, cut]).toEqual([[], []]);
  await drain.run(gone);
  expect(cut).toHaveLength(2);
});

test('[DR12] given clients that open their next connection first, when the gateway drains, then they are requested to move and closed only when late', async () => {
  const { present, told } = crowd([0, 0, 0], (index) => index < 2);
  const { drain, departures } = drainOf(present);
  await drain.run(new AbortController().signal);
  expect(told).toEqual(['c0 moves', 'c1 moves', 'c2 3001', 'c1 3001']);
  expect(departures.toSorted()).toEqual(['closed', 'late', 'moved']);
});
