import { expect, test } from 'vitest';
import { createEpochs } from './epochs.ts';

test('[ST25] given several processes, when epochs are created, then none repeats', () => {
  const [here, there] = [createEpochs(), createEpochs()];
  const given = Array.from({ length: 2_000 }, (_, at) => (at % 2 === 0 ? here() : there()));
  expect(new Set(given).size).toBe(2_000);
  expect(given.every((epoch) => /^[\w-]{9,16}$/.test(epoch))).toBe(true);
});
