import { AppError } from '@muster/protocol/errors';
import { expect, test } from 'vitest';
import { createReadCoalescer } from './read-coalescing.ts';

const underTest = () => {
  const share = createReadCoalescer<number>();
  const open: { key: string; finish: (value: number) => void; fail: (error: Error) => void }[] = [];
  let most = 0;
  let running = 0;
  const read = (key: string): Promise<number> =>
    share(key, () => {
      running += 1;
      most = Math.max(most, running);
      const { promise, resolve, reject } = Promise.withResolvers<number>();
      open.push({ key, finish: resolve, fail: reject });
      return promise.finally(() => {
        running -= 1;
      });
    });
  return { read, open, most: () => most };
};
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

test('[ST33] given four reads in progress, when more are requested, then they are queued in order', async () => {
  const { read, open, most } = underTest();
  const answers = Array.from({ length: 40 }, (_, index) => read(`group ${index}`));
  for (let index = 0; index < 40; index += 1) {
    await turn();
    open[index]?.finish(index);
  }
  expect(await Promise.all(answers)).toEqual(Array.from({ length: 40 }, (_, index) => index));
  expect(open.map(({ key }) => key)).toEqual(Array.from({ length: 40 }, (_, index) => `group ${index}`));
  expect(most()).toBe(4);
});

test('[ST33] given equal queued reads, when they run, then they are merged; a read in progress is not shared', async () => {
  const { read, open } = underTest();
  const answers = Array.from({ length: 200 }, () => read('same'));
  await turn();
  expect(open).toHaveLength(4);
  for (const { finish } of open) finish(1);
  await turn();
  expect(open).toHaveLength(5);
  open[4]?.finish(2);
  expect(await Promise.all(answers)).toEqual([...Array(4).fill(1), ...Array(196).fill(2)]);
});

test('[ST33] given a read that fails, when others are queued, then they run', async () => {
  const { read, open } = underTest();
  const answers = Array.from({ length: 5 }, (_, index) => read(`group ${index}`));
  open[0]?.fail(new AppError('REDIS_UNAVAILABLE'));
  await expect(answers[0]).rejects.toThrow(AppError);
  await turn();
  expect(open).toHaveLength(5);
  for (const { finish } of open.slice(1)) finish(3);
  expect(await Promise.all(answers.slice(1))).toEqual(Array(4).fill(3));
});
