import { expect, test } from 'vitest';
import { createSeededRandom } from './seeded-random.ts';

const take = (seed: number) => {
  const random = createSeededRandom(seed);
  return [random.fraction(), random.fraction(), ...random.bytes(8)];
};

test('[TW2] the same seed gives the same sequence, another seed another sequence', () => {
  expect(take(7)).toEqual(take(7));
  expect(take(7)).not.toEqual(take(8));
});

test('[TW2] fractions lie in [0, 1) and fill it', () => {
  const random = createSeededRandom(1);
  const fractions = Array.from({ length: 10_000 }, () => random.fraction());
  expect(Math.min(...fractions)).toBeGreaterThanOrEqual(0);
  expect(Math.max(...fractions)).toBeLessThan(1);
  const mean = fractions.reduce((sum, one) => sum + one, 0) / fractions.length;
  expect(mean).toBeCloseTo(0.5, 1);
});
