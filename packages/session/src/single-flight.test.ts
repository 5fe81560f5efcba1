import { expect, test } from 'vitest';
import { createSingleFlight } from './single-flight.ts';
import { newSessionId } from './token.ts';

const setUp = () => {
  const questions = createSingleFlight<string>();
  const id = newSessionId();
  const asked: { good: () => boolean; answer: (text: string) => void }[] = [];
  const ask = (secret = 'a') =>
    questions.once({ id, secret }, (good) => {
      const { promise, resolve } = Promise.withResolvers<string>();
      asked.push({ good, answer: resolve });
      return promise;
    });
  return { questions, id, asked, ask };
};

test('[VF8] given requests at the same time, when they are verified, then they share one query, except those of another secret', async () => {
  const { asked, ask } = setUp();
  const together = [ask(), ask(), ask()];
  const other = ask('b');
  expect(asked).toHaveLength(2);
  for (const { answer } of asked) answer('live');
  expect(await Promise.all([...together, other])).toEqual(['live', 'live', 'live', 'live']);
  void ask();
  expect(asked).toHaveLength(3);
});

test('[VF4] given a query in progress, when the session changes, then its result is not cached and the next request queries again', () => {
  const { questions, id, asked, ask } = setUp();
  void ask();
  expect(asked[0]?.good()).toBe(true);
  questions.forget(id);
  expect(asked[0]?.good()).toBe(false);
  void ask();
  expect(asked).toHaveLength(2);
  expect(asked[1]?.good()).toBe(true);
  questions.forgetAll();
  expect(asked[1]?.good()).toBe(false);
});
