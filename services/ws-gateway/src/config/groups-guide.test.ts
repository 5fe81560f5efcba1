import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { OPTION_NAMES, parseGroups, RENAMED_OPTIONS } from './groups.ts';

const read = (path: string): string => readFileSync(new URL(path, import.meta.url), 'utf8');
const GUIDE = read('../../../../docs/migrating-from-centrifugo.md');
const [, SECTION = ''] = /^## Options of namespaces$([\s\S]*?)^## /m.exec(GUIDE) ?? [];
const namesIn = (text: string): string[] => [...text.matchAll(/`([a-z][a-z_]*)`/g)].map(([, name = '']) => name);

/** The rows of the table, one for each option. */
const ROWS = SECTION.split('\n')
  .map((line) => /^\| (`.*) \| (supported|differs|renamed|refused) \| (.*)\|$/.exec(line))
  .flatMap((row) => {
    const [, options = '', state = '', remark = ''] = row ?? [];
    return namesIn(options).map((option) => ({ option, state, remark }));
  });
const [, OWN = ''] = /^Options that Centrifugo does not have: ([\s\S]*?)\./m.exec(SECTION) ?? [];
const inState = (...states: string[]) => ROWS.filter(({ state }) => states.includes(state));

/** Possible values of options. */
const VALUES = [true, 1, 'stream', 'json', 'disconnect', ['fossil']];
const tableWith = (options: object) => parseGroups({ namespaces: [{ name: 'news', ...options }] });
const problem = (option: string, value: unknown): string => {
  try {
    tableWith({ [option]: value });
    return '';
  } catch (error) {
    return String(error);
  }
};

test('[NS9] given the migration guide, when it is compared, then it names every option of a groups file and no others', () => {
  const named = [...inState('supported', 'differs').map(({ option }) => option), ...namesIn(OWN)];
  expect(new Set(named).size).toBe(named.length);
  const inRemarks = inState('supported', 'renamed').flatMap(({ remark }) => namesIn(remark));
  const ours = inRemarks.filter((name) => OPTION_NAMES.includes(name));
  expect([...new Set([...named, ...ours])].sort()).toEqual([...OPTION_NAMES].sort());
});

test('[NS9] given an option that the guide lists as accepted, when it is read, then it is accepted with the documented default', () => {
  for (const { option, remark } of inState('supported', 'differs').filter((row) => row.option !== 'name')) {
    const problems = VALUES.map((value) => problem(option, value));
    expect(problems, `${option}: no value is accepted`).toContain('');
    const [, value] = /default `([^`]+)`/.exec(remark) ?? [];
    if (value === undefined) continue;
    const name = option.replaceAll(/_([a-z])/g, (_, letter: string) => letter.toUpperCase());
    const options = tableWith({}).namespaces.get('news') as unknown as Record<string, unknown>;
    expect(options[name], option).toEqual(JSON.parse(value));
  }
});

test('[NS20] given an option that the guide lists as renamed or rejected, when it is read, then the problem states the replacement', () => {
  const refused = inState('renamed', 'refused');
  expect(refused.map(({ option }) => option).sort()).toEqual([...RENAMED_OPTIONS].sort());
  for (const { option, state, remark } of refused) {
    const text = problem(option, true);
    expect(text).toContain(`namespaces.0: ${option}: ${state === 'refused' ? 'is not supported: ' : 'use `'}`);
    for (const [word] of remark.matchAll(/`[^`]+`/g)) {
      expect(text.replaceAll('`', ''), option).toContain(word.replaceAll('`', ''));
    }
  }
});

test('[NS9] given the variables that the guide names, when they are compared, then all exist', () => {
  const settings = new Set([...GUIDE.matchAll(/`([A-Z][A-Z_]{3,})\b/g)].map(([, name = '']) => name));
  const table = read('../../README.md');
  expect([...settings].filter((name) => !table.includes(`\`${name}\``))).toEqual([]);
});
