import fc from 'fast-check';
import { expect, test } from 'vitest';
import { mergePatch } from './merge-patch.ts';

const object = fc.dictionary(fc.string(), fc.jsonValue({ maxDepth: 3 }));

test.each([
  [{ a: 'b' }, { a: 'c' }, { a: 'c' }],
  [{ a: 'b' }, { b: 'c' }, { a: 'b', b: 'c' }],
  [{ a: 'b' }, { a: null }, {}],
  [{ a: ['b'] }, { a: 'c' }, { a: 'c' }],
  [{ a: { b: 'c' } }, { a: { b: 'd', c: null } }, { a: { b: 'd' } }],
  [{ a: [{ b: 'c' }] }, { a: [1] }, { a: [1] }],
  [{ e: null }, { a: 1 }, { e: null, a: 1 }],
  [{}, { a: { bb: { ccc: null } } }, { a: { bb: {} } }],
])('[SE33] the example of RFC 7396: %j with %j is %j', (target, patch, result) => {
  expect(mergePatch(target, patch)).toEqual(result);
});

test('[SE33] given a patch, it is idempotent, an empty patch changes nothing, and arguments stay', () => {
  fc.assert(
    fc.property(object, object, (target, patch) => {
      const [before, beforePatch] = [JSON.stringify(target), JSON.stringify(patch)];
      const once = mergePatch(target, patch);
      expect(mergePatch(once, patch)).toEqual(once);
      expect(mergePatch(target, {})).toEqual(target);
      expect([JSON.stringify(target), JSON.stringify(patch)]).toEqual([before, beforePatch]);
    }),
  );
});

test('[SE33] given the difference of two objects as a patch, it converts the first into the second', () => {
  type Value = ReturnType<typeof JSON.parse>;
  const isObject = (value: Value) => typeof value === 'object' && value !== null && !Array.isArray(value);
  const withoutNulls = (value: Value): Value =>
    isObject(value)
      ? Object.fromEntries(
          Object.entries(value).flatMap(([name, one]) => (one === null ? [] : [[name, withoutNulls(one)]])),
        )
      : value;
  const differenceOf = (from: Value, to: Value): Value =>
    Object.fromEntries([
      ...Object.keys(from).flatMap((name) => (Object.hasOwn(to, name) ? [] : [[name, null]])),
      ...Object.entries(to).map(([name, one]) => [
        name,
        Object.hasOwn(from, name) && isObject(from[name]) && isObject(one) ? differenceOf(from[name], one) : one,
      ]),
    ]);
  fc.assert(
    fc.property(object, object, (one, two) => {
      const [from, to] = [withoutNulls(one), withoutNulls(two)];
      expect(mergePatch(from, differenceOf(from, to))).toEqual(to);
    }),
  );
});

test('[SE33] given names of prototype members, they are plain members', () => {
  const patch = JSON.parse('{"__proto__":{"x":1},"constructor":{"y":2}}');
  const merged = mergePatch({}, patch);
  expect(Object.keys(merged)).toEqual(['__proto__', 'constructor']);
  expect(({} as { x?: number }).x).toBeUndefined();
});
