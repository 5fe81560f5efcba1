import { setImmediate as nextTurn } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { flushAtEndOfTurn, type TurnPhase } from './end-of-turn.ts';

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
