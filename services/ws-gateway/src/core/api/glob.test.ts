import fc from 'fast-check';
import { expect, test } from 'vitest';
import { matchesGlob } from './glob.ts';

/** The same by a regular expression: for short input only, it may take exponential time. */
const byRegex = (pattern: string, name: string): boolean =>
  pattern === '' || new RegExp(`^${pattern.replaceAll('*', '.*').replaceAll('?', '.')}$`).test(name);

test('[AP20] given any pattern and name, when they are matched, then the result is that of the regular expression', () => {
  const pattern = fc.string({ unit: fc.constantFrom('a', 'b', '*', '?'), maxLength: 6 });
  const name = fc.string({ unit: fc.constantFrom('a', 'b'), maxLength: 8 });
  fc.assert(
    fc.property(pattern, name, (glob, text) => matchesGlob(glob, text) === byRegex(glob, text)),
    { numRuns: 2_000 },
  );
});

test('[AP20] given many stars and a name that almost matches, when they are matched, then the steps are bounded', () => {
  const name = 'a'.repeat(255);
  const pattern = `${'*a'.repeat(127)}b`;
  const begun = process.cpuUsage();
  for (let n = 0; n < 100; n += 1) expect(matchesGlob(pattern, name)).toBe(false);
  // A backtracking engine does not end within the age of the universe; this takes about 10 ms.
  expect(process.cpuUsage(begun).user / 1000).toBeLessThan(2_000);
});
