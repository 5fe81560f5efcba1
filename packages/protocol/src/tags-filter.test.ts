import fc from 'fast-check';
import { expect, test } from 'vitest';
import { parseTagsFilter } from './tags-filter.ts';

const accepts = (value: unknown, tags: Record<string, string>) => {
  const filter = parseTagsFilter(value);
  return typeof filter === 'string' ? filter : filter(tags);
};
const leaf = (cmp: string, more: object = {}) => ({ key: 'n', cmp, val: '5', vals: ['5', '6'], ...more });

test.each([
  ['eq', '5', '6'],
  ['neq', '6', '5'],
  ['in', '6', '7'],
  ['nin', '7', '5'],
  ['sw', '51', '15'],
  ['ew', '15', '51'],
  ['ct', '151', '11'],
  ['lt', '4', '5'],
  ['lte', '5', '6'],
  ['gt', '10', '5'],
  ['gte', '5', '4'],
])('[TF1] given a leaf with %s, when it is evaluated, then %s matches and %s does not', (cmp, yes, no) => {
  expect([accepts(leaf(cmp), { n: yes }), accepts(leaf(cmp), { n: no })]).toEqual([true, false]);
});

test('[TF1] given a missing tag, when a leaf is evaluated, then only neq, nin and nex match', () => {
  const holding = ['eq', 'neq', 'in', 'nin', 'ex', 'nex', 'sw', 'lt', 'gte'].filter((cmp) => accepts(leaf(cmp), {}));
  expect(holding).toEqual(['neq', 'nin', 'nex']);
  expect(accepts(leaf('ex', { key: '__proto__' }), {})).toBe(false);
});

test('[TF2] given and, or and not, when they are evaluated, then they combine their nodes', () => {
  const filter = {
    op: 'and',
    nodes: [
      { op: 'not', nodes: [leaf('eq')] },
      { op: 'or', nodes: [leaf('gt'), leaf('eq', { key: 'm' })] },
    ],
  };
  expect([accepts(filter, { n: '6' }), accepts(filter, { n: '5' }), accepts(filter, { n: '1', m: '5' })]).toEqual([
    true,
    false,
    true,
  ]);
});

test('[TF3] given a malformed, too deep or too large filter, when it is parsed, then it is rejected without an exception', () => {
  const deep = (levels: number): unknown => (levels === 0 ? leaf('eq') : { op: 'not', nodes: [deep(levels - 1)] });
  const wide = { op: 'or', nodes: Array(64).fill(leaf('eq')) };
  for (const bad of [
    null,
    1,
    [],
    {},
    { op: 'xor', nodes: [leaf('eq')] },
    { op: 'and' },
    leaf('like'),
    leaf('in', { vals: [1] }),
    deep(9),
    wide,
  ]) {
    expect(parseTagsFilter(bad)).toBeTypeOf('string');
  }
  fc.assert(fc.property(fc.oneof(fc.anything(), fc.uint8Array()), (value) => void parseTagsFilter(value)));
});
