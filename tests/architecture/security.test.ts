import { expect, test } from 'vitest';
import { ruleIdsIn, ruleTests } from './rules.ts';
import { read } from './source-files.ts';

/** Requirements that only an application can meet. */
const DUTIES_OF_APPLICATIONS = ['7.4.4'];

const SECTIONS = { 'V7 Session management': 19, 'V4.4 WebSocket': 4 };

const page = read('docs/security.md');
const rows = page.split('\n').filter((line) => line.startsWith('| ') && !/^\| (?:---|attacker|row) /.test(line));
const cellsOf = (row: string): string[] =>
  row
    .split('|')
    .slice(1, -1)
    .map((cell) => cell.trim());

test('every rule that the page names has a test', () => {
  const testers = ruleTests();
  const named = ruleIdsIn(page.replaceAll('`[SE12]`', ''));
  expect(named.length).toBeGreaterThan(50);
  expect([...new Set(named)].filter((id) => !testers.has(id))).toEqual([]);
});

test('every threat and every requirement has a test, except requirements on the application', () => {
  const untested = rows
    .map((row) => cellsOf(row))
    .filter((cells) => ruleIdsIn(cells.at(-1) ?? '').length === 0)
    .map(([first = '']) => first.split(' ')[0] ?? '');
  expect(untested).toEqual(DUTIES_OF_APPLICATIONS);
});

test('the chapters are complete', () => {
  for (const [title, count] of Object.entries(SECTIONS)) {
    const section = page.split(/^## /m).find((one) => one.includes(title)) ?? '';
    expect([...section.matchAll(/^\| \d+\.\d+\.\d+ /gm)], title).toHaveLength(count);
  }
});
