import { expect, test } from 'vitest';
import { createTurnBudget } from './time-slicing.ts';

test('[SW10] given more work than fits into a turn, when it is executed, then it continues in later turns, in order', async () => {
  const budget = createTurnBudget(100);
  const done: number[] = [];
  const turns: number[] = [];
  let turn = 0;
  const count = (): void => {
    turn += 1;
    if (turn < 20) setImmediate(count);
  };
  setImmediate(count);
  const work = Array.from({ length: 10 }, async (_, index) => {
    await budget.take(60);
    done.push(index);
    turns.push(turn);
  });
  await Promise.all(work);
  expect(done).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
  expect(Math.max(...turns.map((one) => turns.filter((other) => other === one).length))).toBeLessThanOrEqual(2);
});

test('[SW10] given a piece larger than the budget, when it is executed, then it has a turn of its own', async () => {
  const budget = createTurnBudget(100);
  expect(budget.take(5_000)).toBeUndefined();
  const next = budget.take(5_000);
  expect(next).toBeInstanceOf(Promise);
  await next;
});
