import nodeCrypto from 'node:crypto';
import fc from 'fast-check';
import { expect, test, vi } from 'vitest';
import { createTokenSigner, hashSecret, newSecret, newSessionId, parseSessionId } from './token.ts';

const KEY = 'first-signing-key-0123456789-abcdefgh';
const OLD = 'retired-signing-key-0123456789-abcdef';
const random = { bytes: (size: number) => crypto.getRandomValues(new Uint8Array(size)) };
const signer = createTokenSigner([KEY, OLD]);
const id = newSessionId();
const secret = newSecret(random);
const token = signer.issue(id, secret);

test('[TK1] a token is id, secret and MAC, 103 characters, and verifies to its parts', () => {
  expect(token).toMatch(/^[0-9a-f-]{36}\.[\w-]{22}\.[A-Za-z0-9+/]{43}$/);
  expect(token).toHaveLength(103);
  expect(signer.verify(token)).toEqual({ ok: true, id, secret, keyIndex: 0 });
});

test('[TK2] any flipped bit of any character is refused', () => {
  fc.assert(
    fc.property(fc.nat(token.length - 1), fc.nat(7), (at, bit) => {
      const changed = String.fromCharCode(token.charCodeAt(at) ^ (1 << bit));
      expect(signer.verify(token.slice(0, at) + changed + token.slice(at + 1)).ok).toBe(false);
    }),
    { numRuns: 1000 },
  );
});

test('[TK2] every truncation and the signature of another session are refused', () => {
  for (let length = 0; length < token.length; length += 1) {
    expect(signer.verify(token.slice(0, length)).ok).toBe(false);
  }
  const other = signer.issue(newSessionId(), newSecret(random));
  const forged = token.slice(0, token.lastIndexOf('.')) + other.slice(other.lastIndexOf('.'));
  expect(signer.verify(forged)).toEqual({ ok: false, why: 'bad_signature' });
});

test.each(['', '.', '..', '....', 's:', 's:.', token.slice(token.lastIndexOf('.')), `s:${token}`])(
  '[TK2] %j is malformed',
  (text) => {
    expect(signer.verify(text)).toEqual({ ok: false, why: 'malformed' });
  },
);

test('[TK3] an old key verifies while it is listed, and is named', () => {
  const old = createTokenSigner([OLD]).issue(id, secret);
  expect(signer.verify(old)).toEqual({ ok: true, id, secret, keyIndex: 1 });
  expect(createTokenSigner([KEY]).verify(old)).toEqual({ ok: false, why: 'bad_signature' });
  expect(() => createTokenSigner([])).toThrow(TypeError);
});

test('[TK4] other spellings of the id are refused even when signed', () => {
  for (const spelling of [id.toUpperCase(), `{${id}}`, id.replaceAll('-', ''), ` ${id}`, `${id}\n`]) {
    expect(parseSessionId(spelling)).toBeUndefined();
    expect(signer.verify(signer.issue(spelling as typeof id, secret)).ok).toBe(false);
  }
  expect(parseSessionId(id)).toBe(id);
});

test('[TK5] long and random texts are refused without an exception, in linear time', () => {
  fc.assert(fc.property(fc.string({ maxLength: 400 }), (text) => !signer.verify(text).ok));
  const begun = performance.now();
  for (let run = 0; run < 1000; run += 1) signer.verify('a'.repeat(65_536));
  expect(performance.now() - begun).toBeLessThan(2000);
});

test('[TK6] another spelling of the same MAC bytes is refused', () => {
  const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/';
  const last = alphabet.indexOf(token.at(-1) ?? '');
  const twin = token.slice(0, -1) + alphabet[last ^ 1];
  const bytes = (text: string) => Buffer.from(text.slice(text.lastIndexOf('.') + 1), 'base64');
  expect(bytes(twin).equals(bytes(token))).toBe(true);
  expect(signer.verify(twin).ok).toBe(false);
});

test('[TK7] ids and secrets do not repeat', () => {
  const ids = new Set(Array.from({ length: 10_000 }, newSessionId));
  const secrets = new Set(Array.from({ length: 10_000 }, () => newSecret(random)));
  expect(ids.size).toBe(10_000);
  expect(secrets.size).toBe(10_000);
  for (const one of ids) expect(parseSessionId(one)).toBe(one);
  for (const one of secrets) expect(Buffer.from(one, 'base64url')).toHaveLength(16);
  expect(hashSecret(secret)).toHaveLength(32);
});

test('[TK13] signatures are compared in constant time, also those that are wrong from the first character', () => {
  const compare = vi.spyOn(nodeCrypto, 'timingSafeEqual');
  const start = token.lastIndexOf('.') + 1;
  const wrongAt = (at: number): string => token.slice(0, at) + (token[at] === 'A' ? 'B' : 'A') + token.slice(at + 1);
  try {
    for (const forged of [wrongAt(start), wrongAt(token.length - 1)]) {
      compare.mockClear();
      expect(signer.verify(forged).ok).toBe(false);
      // Once under each key.
      expect(compare).toHaveBeenCalledTimes(2);
    }
  } finally {
    compare.mockRestore();
  }
});

test.each([
  ['a,list', 'got string; SESSION_SECRETS is a list'],
  [undefined, 'got undefined'],
  [[], 'empty array'],
  [[''], 'not empty'],
  [[7], 'expected strings'],
  [['one,two'], 'split it at its commas'],
])('[TK8] secrets that would refuse every token are a TypeError: %j', (secrets, message) => {
  expect(() => createTokenSigner(secrets as string[])).toThrow(TypeError);
  expect(() => createTokenSigner(secrets as string[])).toThrow(message);
});
