import { expect, test } from 'vitest';
import { conditionalTests, ruleDocuments, ruleOwners, ruleTests, tableFaults } from './rules.ts';
import { read } from './source-files.ts';
import { parseSyntax } from './syntax.ts';

const owners = ruleOwners();
const testers = ruleTests();

test('there are rules, and tests that name them', () => {
  expect(owners.size).toBeGreaterThan(600);
  expect(testers.size).toBeGreaterThan(600);
});

test('a rule id is used once', () => {
  expect([...owners].filter(([, documents]) => documents.length > 1)).toEqual([]);
});

test('every rule has a test that runs', () => {
  expect([...owners.keys()].filter((id) => !testers.has(id))).toEqual([]);
});

test('every id in a test title is a rule', () => {
  expect([...testers].filter(([id]) => !owners.has(id))).toEqual([]);
});

test('no test is switched off, and those that depend on the machine are listed', () => {
  const conditional = conditionalTests();
  expect(conditional.filter(({ runs }) => runs === 'never')).toEqual([]);
  const files = Map.groupBy(conditional, ({ file }) => file);
  const rows = [...files].map(([file, tests]) => `  ${file}: ${tests.length}`);
  process.stderr.write(`tests that run only where the machine allows it:\n${rows.join('\n')}\n`);
});

test('the rules of a SPEC stand in tables: id, given, when, then, in the order of their ids', () => {
  const specs = ruleDocuments().filter((path) => path.endsWith('SPEC.md'));
  expect(specs.length).toBeGreaterThan(15);
  expect(specs.flatMap((path) => tableFaults(path, read(path)))).toEqual([]);
});

test('faults of a table of rules are found', () => {
  const table = (...rows: string[]) => tableFaults('x', rows.join('\n'));
  const header = ['| id | given | when | then |', '| --- | --- | --- | --- |'];
  expect(table(...header, '| AB1 | a | b | c |', '| AB2 | | | c |')).toEqual([]);
  expect(table(...header, '| AB2 | a | b | c |', '| AB1 | a | b | c |')).toEqual(['x:4: AB1 is out of order']);
  expect(table(...header, '| AB1 | a | b | |')).toHaveLength(1);
  expect(table('| id | rule |', '| --- | --- |', '| AB1 | a |')).toHaveLength(1);
  expect(table('- **[AB1]** a')).toEqual(['x:1: a rule in a list']);
});

test('a skipped test covers no rule, a conditional one does', () => {
  const text = [
    "describe.skip('a', () => { test('[AB1] b', () => {}); });",
    "describe.skipIf(x)('c', () => { test('[AB2] d', () => {}); });",
    "test.skip('[AB3] e', () => {}); test.skip.each([1])('[AB4] f', () => {}); test.each([1])('[AB5] g', () => {});",
  ];
  const { titles } = parseSyntax(text.join('\n'), 'x.ts');
  expect(titles.filter(({ isSuite }) => !isSuite).map(({ text, runs }) => [text.slice(0, 5), runs])).toEqual([
    ['[AB1]', 'never'],
    ['[AB2]', 'sometimes'],
    ['[AB3]', 'never'],
    ['[AB4]', 'never'],
    ['[AB5]', 'always'],
  ]);
});
