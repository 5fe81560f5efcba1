import { setImmediate as nextTurn } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { flushAtEndOfTurn, joinQueries, type TurnPhase } from './end-of-turn.ts';

test('[ET1] given work of all phases, when the turn of the event loop ends, then it is done in their order, with what it adds to later phases', async () => {
  const done: string[] = [];
  const work = (phase: TurnPhase, name: string, more?: () => void) =>
    flushAtEndOfTurn(phase, {
      flush: () => {
        done.push(name);
        more?.();
      },
    });
  work('replies', 'reply');
  work('publications', 'publication', () => {
    work('replies', 'reply to it');
    work('redis_commands', 'command of the next turn');
  });
  work('redis_commands', 'command', () => work('redis_write', 'write'));
  expect(done).toEqual([]);
  await nextTurn();
  const first = ['command', 'write', 'publication', 'reply', 'reply to it'];
  expect(done).toEqual(first);
  await nextTurn();
  expect(done).toEqual([...first, 'command of the next turn']);
});

test('[ET2] given queries of one turn, when it ends, then batches of limited size are performed, and each query has its own result', async () => {
  const performed: number[][] = [];
  const square = joinQueries(3, async (numbers: readonly number[]) => {
    performed.push([...numbers]);
    if (numbers.includes(13)) throw new Error('refused');
    return numbers.map((number) => number * number);
  });
  const first = [1, 2, 3, 4].map(square);
  expect(performed).toEqual([]);
  expect(await Promise.all(first)).toEqual([1, 4, 9, 16]);
  expect(performed).toEqual([[1, 2, 3], [4]]);
  expect(await Promise.allSettled([square(5), square(13)])).toMatchObject([
    { status: 'rejected' },
    { reason: { message: 'refused' } },
  ]);
  expect(await square(6)).toBe(36);
});
