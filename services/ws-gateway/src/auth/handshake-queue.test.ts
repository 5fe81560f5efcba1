import type { SessionId } from '@muster/session/token';
import { createFakeClock } from '@muster/testkit/fake-clock';
import { expect, test } from 'vitest';
import type { AuthenticationResult, SessionHolder } from '../core/ports.ts';
import { createHandshakeQueue } from './handshake-queue.ts';

const IN: AuthenticationResult = {
  ok: true,
  identity: { tenant: 'default', sessionId: 's' as SessionId, user: 'ann', expiresAt: 0 },
};
const REFUSED: AuthenticationResult = { ok: false, why: 'unavailable' };
const holder = (isClosed = false): SessionHolder => ({
  endSession: () => {},
  renewSession: () => {},
  reviseSession: () => {},
  isClosed,
});

/** A queue in front of an authenticator that answers on `finishOne`. */
const queueUnderTest = (options: { concurrency?: number; maxWaiting?: number } = {}) => {
  const clock = createFakeClock();
  const started: string[] = [];
  const finish: (() => void)[] = [];
  const waits: number[] = [];
  let refused = 0;
  const queue = createHandshakeQueue({
    clock,
    concurrency: options.concurrency ?? 2,
    maxWaiting: options.maxWaiting ?? 100,
    onWaited: (seconds) => waits.push(seconds),
    onRefused: () => {
      refused += 1;
    },
    authenticator: {
      hasValidSignature: () => true,
      refresh: async () => ({ ok: false, why: 'none' }),
      transfer: () => {},
      release: () => {},
      authenticate: ({ tokens }) => {
        started.push(tokens[0] ?? '');
        if (tokens[0] === 'known') return IN;
        return new Promise((resolve) => finish.push(() => resolve(IN)));
      },
    },
  });
  const come = (name: string, who = holder()) =>
    queue.authenticator.authenticate({ tokens: [name], origin: undefined }, who);
  const finishOne = async (afterMs = 0): Promise<void> => {
    clock.advance(afterMs);
    finish.shift()?.();
    await new Promise((resolve) => setImmediate(resolve));
  };
  return { clock, queue, come, started, waits, finishOne, refused: () => refused };
};

test('[AD1] given as many checks as permitted, when more arrive, then they wait and start in FIFO order', async () => {
  const { come, started, finishOne, queue, waits } = queueUnderTest();
  const all = ['a', 'b', 'c', 'd', 'e'].map((name) => come(name));
  expect(started).toEqual(['a', 'b']);
  expect(queue.waiting()).toBe(3);
  await finishOne(40);
  expect(started).toEqual(['a', 'b', 'c']);
  for (let left = 4; left > 0; left--) await finishOne();
  expect(started).toEqual(['a', 'b', 'c', 'd', 'e']);
  expect(await Promise.all(all)).toEqual([IN, IN, IN, IN, IN]);
  expect(waits).toEqual([0.04, 0.04, 0.04]);
  expect(queue.waiting()).toBe(0);
});

test('[AD1] given a queue, when another check arrives, then it does not overtake', async () => {
  const { come, started, finishOne } = queueUnderTest({ concurrency: 1 });
  for (const name of ['a', 'b', 'c']) void come(name);
  await finishOne();
  void come('d');
  for (let left = 3; left > 0; left--) await finishOne();
  expect(started).toEqual(['a', 'b', 'c', 'd']);
});

test('[AD2] given a full queue, when another check arrives, then it is rejected at once as unavailable', async () => {
  const { come, started, refused, queue, finishOne } = queueUnderTest({ concurrency: 1, maxWaiting: 2 });
  for (const name of ['a', 'b', 'c']) void come(name);
  expect(queue.isFull()).toBe(true);
  expect(await come('d')).toEqual(REFUSED);
  expect(refused()).toBe(1);
  await finishOne();
  expect(queue.isFull()).toBe(false);
  expect(started).toEqual(['a', 'b']);
});

test('[AD4] given a check that waited too long, or whose client has disconnected, when its turn comes, then it is not executed', async () => {
  const { come, started, finishOne, clock } = queueUnderTest({ concurrency: 1 });
  void come('a');
  const gone = come('b', holder(true));
  const late = come('c');
  clock.advance(6_000);
  await finishOne();
  expect(await Promise.all([gone, late])).toEqual([REFUSED, REFUSED]);
  void come('d');
  expect(started).toEqual(['a', 'd']);
});

test('[AD3] given slow stores, when the queue grows, then Retry-After is its length by the pace of recent checks', async () => {
  const { come, finishOne, queue } = queueUnderTest({ concurrency: 2, maxWaiting: 1_000 });
  expect(queue.retryAfterS()).toBe(1);
  // A hundred checks of 100 ms each: two at once are twenty in a second.
  for (let count = 0; count < 102; count++) void come('x');
  for (let count = 0; count < 100; count++) await finishOne(50);
  for (let count = 0; count < 98; count++) void come('y');
  expect(queue.waiting()).toBe(98);
  expect(queue.retryAfterS()).toBe(5);
});

test('[AD2] [AD3] given an estimated wait longer than clients wait, when another check arrives, then the queue counts as full', async () => {
  const { come, finishOne, queue } = queueUnderTest({ concurrency: 1, maxWaiting: 1_000 });
  void come('x');
  for (let count = 0; count < 60; count++) {
    void come('x');
    await finishOne(1_000);
  }
  while (!queue.isFull()) void come('y');
  expect(queue.waiting()).toBeLessThan(10);
  expect(queue.retryAfterS()).toBeGreaterThan(4);
});

test('[AD5] given a check that needs no store, when it arrives, then it is answered at once and takes no slot', async () => {
  const { come, started, queue, finishOne } = queueUnderTest({ concurrency: 1 });
  expect(come('known')).toEqual(IN);
  void come('a');
  expect(queue.waiting()).toBe(0);
  // Behind others it keeps its position.
  const [known, next] = [come('known'), come('b')];
  await finishOne();
  expect(await known).toEqual(IN);
  expect(started).toEqual(['known', 'a', 'known', 'b']);
  await finishOne();
  expect(await next).toEqual(IN);
});
