import { expect, test } from 'vitest';
import { read, repositoryFiles, sourceFiles } from './source-files.ts';

/** A rule is `| HT1 |` in a table or `**HT1**` / `**[HT1]**` in a list of a SPEC.md or PROTOCOL.md. */
const RULE = /^\|\s*([A-Z]{2,3}\d+)\s*\||\*\*\[?([A-Z]{2,3}\d+)\]?\*\*/gm;
const TITLE = /\b(?:test|it|describe)(?:\.\w+(?:\([^)]*\))?)*\(\s*(['"`])((?:\[[A-Z]{2,3}\d+\]\s?)+)/g;

const specs = repositoryFiles().filter((path) => /(SPEC|PROTOCOL)\.md$/.test(path));
const ruleOwners = new Map<string, string[]>();
for (const spec of specs) {
  for (const match of read(spec).matchAll(RULE)) {
    const id = match[1] ?? match[2] ?? '';
    ruleOwners.set(id, [...(ruleOwners.get(id) ?? []), spec]);
  }
}

const testers = new Map<string, string[]>();
for (const file of sourceFiles().filter(
  (path) => path.endsWith('.test.ts') || path.includes('conformance'),
)) {
  for (const match of read(file).matchAll(TITLE)) {
    for (const [, id = ''] of (match[2] ?? '').matchAll(/\[([A-Z]{2,3}\d+)\]/g)) {
      testers.set(id, [...(testers.get(id) ?? []), file]);
    }
  }
}

test('there are rules, and tests that name them', () => {
  expect(ruleOwners.size).toBeGreaterThan(30);
  expect(testers.size).toBeGreaterThan(30);
});

test('a rule id belongs to one document', () => {
  const shared = [...ruleOwners].filter(([, owners]) => new Set(owners).size > 1);
  expect(shared).toEqual([]);
});

test('every rule has a test', () => {
  expect([...ruleOwners.keys()].filter((id) => !testers.has(id))).toEqual([]);
});

test('every id in a test title is a rule', () => {
  expect([...testers].filter(([id]) => !ruleOwners.has(id))).toEqual([]);
});
