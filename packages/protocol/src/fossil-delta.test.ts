import fc from 'fast-check';
import { expect, test } from 'vitest';
import { encodeDelta } from './fossil-delta.ts';

const utf8 = new TextEncoder();
const strict = new TextDecoder('utf-8', { fatal: true });
const DIGITS = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz~';

/** Reference decoder, written from the description of the format. */
const applied = (base: Uint8Array, delta: Uint8Array): Uint8Array => {
  let at = 0;
  const number = (): number => {
    let value = 0;
    for (;;) {
      const digit = DIGITS.indexOf(String.fromCharCode(delta[at] ?? 0));
      if (digit < 0) return value;
      value = value * 64 + digit;
      at += 1;
    }
  };
  const size = number();
  expect(delta[at++]).toBe(10);
  const made: number[] = [];
  for (;;) {
    const count = number();
    const kind = String.fromCharCode(delta[at++] ?? 0);
    if (kind === '@') {
      const offset = number();
      expect(String.fromCharCode(delta[at++] ?? 0)).toBe(',');
      expect(offset + count).toBeLessThanOrEqual(base.length);
      made.push(...base.subarray(offset, offset + count));
    } else if (kind === ':') {
      made.push(...delta.subarray(at, at + count));
      at += count;
    } else {
      expect(kind).toBe(';');
      expect(at).toBe(delta.length);
      expect(made.length).toBe(size);
      return Uint8Array.from(made);
    }
  }
};

const word = fc.oneof(
  fc.constantFrom(
    '"price":',
    'zażółć gęślą jaźń ',
    '漢字かな',
    '👩‍🚀👩‍🚀',
    '{"name":"',
    'aaaaaaaaaaaaaaaaaaaaaaaa',
    '0',
  ),
  fc.string({ unit: 'grapheme', maxLength: 12 }),
);
const parts = fc.array(word, { maxLength: 30 });

test('[DL1] given any change of a text, when a delta is encoded, then it produces the target and is shorter than it', () => {
  fc.assert(
    fc.property(parts, parts, fc.nat(30), fc.nat(5), (some, others, at, gone) => {
      const base = utf8.encode(some.join(''));
      const target = utf8.encode(some.toSpliced(at, gone, ...others.slice(0, 4)).join(''));
      const delta = encodeDelta(base, target);
      if (delta === undefined) return;
      expect(delta.length).toBeLessThan(target.length);
      expect(applied(base, delta)).toEqual(target);
    }),
    { numRuns: 500 },
  );
});

test('[DL1] given any bytes, when a delta is encoded, then it produces the target', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), fc.uint8Array({ maxLength: 40 }), fc.nat(300), (base, more, at) => {
      const target = Uint8Array.from([...base.subarray(0, at), ...more, ...base.subarray(at)]);
      const delta = encodeDelta(base, target);
      if (delta !== undefined) expect(applied(base, delta)).toEqual(target);
    }),
    { numRuns: 300 },
  );
});

test('[DL2] given characters of several bytes, when a delta is encoded, then no character is split', () => {
  fc.assert(
    fc.property(parts, fc.nat(30), word, (some, at, other) => {
      const delta = encodeDelta(utf8.encode(some.join('')), utf8.encode([other, ...some.toSpliced(at, 1)].join('')));
      if (delta !== undefined) strict.decode(delta);
    }),
    { numRuns: 500, examples: [[['ł'.repeat(30)], 0, 'ń'.repeat(30)]] },
  );
});

test('[DL1] given two distant changes, a moved or a repeated part, when a delta is encoded, then it is small', () => {
  const line = (index: number) => `{"id":${index},"text":"line number ${index * 7919}"},`;
  const lines = Array.from({ length: 200 }, (_, index) => line(index));
  const base = utf8.encode(lines.join(''));
  const size = (changed: readonly string[]) => {
    const target = utf8.encode(changed.join(''));
    const delta = encodeDelta(base, target) ?? new Uint8Array();
    expect(applied(base, delta)).toEqual(target);
    return delta.length;
  };
  expect(size(lines.with(3, 'other').with(190, 'another'))).toBeLessThan(80);
  expect(size([...lines.slice(100), ...lines.slice(0, 100)])).toBeLessThan(80);
  expect(size([...lines, ...lines])).toBeLessThan(80);
  expect(size(lines)).toBeLessThan(30);
});

test('[DL1] given payloads without common parts, when a delta is encoded, then there is none', () => {
  expect(encodeDelta(utf8.encode('a'), utf8.encode('b'))).toBeUndefined();
  expect(encodeDelta(new Uint8Array(), utf8.encode('{"a":1}'))).toBeUndefined();
  expect(encodeDelta(utf8.encode('{"a":1}'), new Uint8Array())).toBeUndefined();
});

test('[DL1] given large and repetitive texts, when a delta is encoded, then the time is linear', () => {
  const base = new Uint8Array(1_000_000).fill(97);
  const target = new Uint8Array(1_000_000).map((_, index) => (index % 15 === 0 ? 98 : 97));
  const startedAt = process.cpuUsage().user;
  encodeDelta(base, target);
  // Quadratic time would be hours; the bound allows for a busy machine.
  expect(process.cpuUsage().user - startedAt).toBeLessThan(5_000_000);
});
