import { expect, test } from 'vitest';
import { createIpAnonymizer, IP_MODES } from './ip-anonymization.ts';
import { createDerivedKeys } from './signing-keys.ts';

const keys = createDerivedKeys(['a-signing-key-0123456789-abcdefghijkl']);
const of = (mode: (typeof IP_MODES)[number]) => createIpAnonymizer(mode, keys);

test('[IP1] given a mode, an address is stored in its form', () => {
  expect(of('truncated').anonymize('203.0.113.77')).toBe('203.0.113.0/24');
  expect(of('truncated').anonymize('2001:db8:a:b::1')).toBe('2001:db8:a::/48');
  expect(of('full').anonymize('::ffff:203.0.113.77')).toBe('203.0.113.77/32');
  expect(of('full').anonymize('2001:db8:a:b::1')).toBe('2001:db8:a:b::1/128');
  expect(of('hashed').anonymize('203.0.113.77')).toMatch(/^2001:2[0-9a-f]:[0-9a-f:]+\/128$/);
  expect(of('none').anonymize('203.0.113.77')).toBeNull();
  for (const mode of IP_MODES) {
    expect(of(mode).anonymize('no address')).toBeNull();
    expect(of(mode).anonymize(undefined)).toBeNull();
  }
});

test('[IP1] given an address or an IPv6 /64, its pseudonym is stable and depends on the signing key', () => {
  const { anonymize: stored } = of('hashed');
  expect(stored('::ffff:203.0.113.77')).toBe(stored('203.0.113.77'));
  expect(stored('2001:db8:a:b::1')).toBe(stored('2001:db8:a:b::2'));
  expect(new Set([stored('203.0.113.77'), stored('203.0.113.78'), stored('2001:db8:a:c::1')]).size).toBe(3);
  const other = createIpAnonymizer('hashed', createDerivedKeys(['another-key-0123456789-abcdefghijklm']));
  expect(other.anonymize('203.0.113.77')).not.toBe(stored('203.0.113.77'));
});

test('[IP2] given stored forms, a stricter mode converts them once', () => {
  const samples = ['203.0.113.77/32', '203.0.113.0/24', '2001:db8:a:b::1/128', '2001:db8:a::/48'];
  for (const mode of IP_MODES) {
    const once = samples.map((text) => of(mode).anonymize(text));
    expect(once.map((text) => of(mode).anonymize(text))).toEqual(once);
    if (mode === 'full') expect(once).toEqual(samples);
  }
  expect(of('truncated').anonymize('203.0.113.77/32')).toBe('203.0.113.0/24');
  const pseudonym = of('hashed').anonymize('203.0.113.77');
  expect(of('truncated').anonymize(pseudonym)).toBe(pseudonym);
});
