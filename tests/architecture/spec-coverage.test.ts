import { expect, test } from 'vitest';
import { ruleOwners, ruleTests } from './rules.ts';

const owners = ruleOwners();
const testers = ruleTests();

test('there are rules, and tests that name them', () => {
  expect(owners.size).toBeGreaterThan(30);
  expect(testers.size).toBeGreaterThan(30);
});

test('a rule id is used once', () => {
  expect([...owners].filter(([, documents]) => documents.length > 1)).toEqual([]);
});

test('every rule has a test', () => {
  expect([...owners.keys()].filter((id) => !testers.has(id))).toEqual([]);
});

test('every id in a test title is a rule', () => {
  expect([...testers].filter(([id]) => !owners.has(id))).toEqual([]);
});
