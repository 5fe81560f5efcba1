import { expect, test } from 'vitest';
import { cpuGrowthOf, MAX_CPU_GROWTH } from './cpu-growth.ts';

const text = (size: number): string => `${'a'.repeat(size)}!`;

test('[TW5] work that grows with its input costs ten times as much, with its square a hundred times', async () => {
  const linear = await cpuGrowthOf(10_000, (size) => {
    const input = text(size);
    return () => /^[ab]*$/.test(input);
  });
  expect(linear).toBeGreaterThan(5);
  expect(linear).toBeLessThan(MAX_CPU_GROWTH);
  const squared = await cpuGrowthOf(500, (size) => {
    const input = text(size);
    return () => /a*b/.test(input);
  });
  expect(squared).toBeGreaterThan(2 * MAX_CPU_GROWTH);
});
