import fc from 'fast-check';
import { expect, test } from 'vitest';
import { userClaimsOf } from './id-token-claims.ts';
import type { TrustedToken } from './oidc-ports.ts';

const NOW = 1_800_000_000_000;
const ISSUER = {
  name: 'acme',
  issuer: 'https://id.example',
  userIdClaim: 'sub',
  userIdPrefix: 'acme|',
  tenant: 'default',
};
const read = (claims: Record<string, unknown>, issuer = ISSUER) =>
  userClaimsOf({ issuer, claims, fingerprint: 'f', issuedAt: 0, expiresAt: 0 } satisfies TrustedToken, NOW);

test.each([
  ['urn:acme:aal:2', 2],
  ['http://idmanagement.gov/ns/assurance/aal/3', 3],
  ['aal2', 2],
  ['AAL1', 1],
  ['aal4', 1],
  ['royaal2', 1],
  ['silver', 1],
  ['', 1],
  [2, 1],
  [undefined, 1],
])('[EX1] the acr %s is level %s', (acr, aal) => {
  expect(read({ sub: 'x', acr })?.aal).toBe(aal);
});

test('[EX1] given methods that cannot be stored, they are omitted', () => {
  const amr = ['pwd', 1, null, 'x'.repeat(33), '', 'a\0', ...Array.from({ length: 20 }, (_, at) => `m${at}`)];
  expect(read({ sub: 'x', amr })?.amr).toEqual(['pwd', ...Array.from({ length: 15 }, (_, at) => `m${at}`)]);
  expect(read({ sub: 'x', amr: 'pwd' })?.amr).toEqual([]);
});

test('[EX1] given a configured claim and prefix, the user id consists of them', () => {
  expect(read({ sub: 'x' })?.userId).toBe('acme|x');
  expect(read({ sub: 'x', oid: 7 }, { ...ISSUER, userIdClaim: 'oid', userIdPrefix: '' })?.userId).toBe('7');
  for (const userIdClaim of ['oid', '__proto__', 'constructor', 'toString']) {
    expect(read({ sub: 'x' }, { ...ISSUER, userIdClaim })).toBeUndefined();
  }
  expect(read({ sub: 'x'.repeat(255) })).toBeUndefined();
});

test('[EX2] given claims of any shape, reading never throws and the result can be stored', () => {
  const claims = fc.record(
    Object.fromEntries(
      ['sub', 'sid', 'amr', 'acr', 'auth_time', 'oid'].map((name) => [
        name,
        fc.oneof(fc.anything(), fc.string({ unit: 'binary', maxLength: 300 }), fc.constant('x'), fc.nat()),
      ]),
    ),
    { requiredKeys: [] },
  );
  fc.assert(
    fc.property(claims, fc.constantFrom('sub', 'oid'), (given, userIdClaim) => {
      const person = read(given, { ...ISSUER, userIdClaim });
      if (person === undefined) return;
      for (const text of [person.userId, person.sub, person.sid ?? 'x', ...person.amr]) {
        expect(text.length).toBeGreaterThan(0);
        expect(text.length).toBeLessThanOrEqual(255);
        expect(text.includes('\0') || !text.isWellFormed()).toBe(false);
      }
      expect(person.authTime ?? 0).toBeLessThanOrEqual(NOW + 60_000);
    }),
  );
});
