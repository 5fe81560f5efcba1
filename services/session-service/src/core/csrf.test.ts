import { newSessionId } from '@muster/session/token';
import { expect, test } from 'vitest';
import { checkOrigin, isCsrfToken, issueCsrfToken } from './csrf.ts';
import { createDerivedKeys } from './signing-keys.ts';

const ALLOWED = ['https://app.example.com'];
const judge = (secFetchSite: string | undefined, origin: string | undefined) =>
  checkOrigin({ secFetchSite, origin }, ALLOWED);

test('[SE15] given Sec-Fetch-Site, it decides', () => {
  expect(judge('same-origin', undefined)).toBe('ours');
  expect(judge('same-site', 'https://app.example.com')).toBe('ours');
  expect(judge('same-site', 'https://evil.example.com')).toBe('foreign');
  expect(judge('same-site', undefined)).toBe('foreign');
  expect(judge('cross-site', 'https://app.example.com')).toBe('foreign');
  expect(judge('none', undefined)).toBe('foreign');
});

test.each([
  'null',
  'https://app.example.com.evil.tld',
  'https://evilapp.example.com',
  'https://app.example.com:444',
  'http://app.example.com',
  'https://APP.example.com',
  'https://app.example.com.',
  'https://app.example.com@evil',
  'https://аpp.example.com',
])('[SE15] the origin %s is not ours', (origin) => {
  expect(judge(undefined, origin)).toBe('foreign');
});

test('[SE15] given an exact Origin, it is ours; without headers it is unknown', () => {
  expect(judge(undefined, 'https://app.example.com')).toBe('ours');
  expect(judge(undefined, undefined)).toBe('unknown');
});

test('[SE15] given a CSRF token, it is valid for its session and secret only', () => {
  const keys = createDerivedKeys(['csrf-test-secret-0123456789-abcdefghij']);
  const session = { id: newSessionId(), secretHash: 'h1' };
  const token = issueCsrfToken(keys, session, new Uint8Array(16));
  expect(isCsrfToken(keys, session, token)).toBe(true);
  expect(isCsrfToken(keys, { ...session, secretHash: 'h2' }, token)).toBe(false);
  expect(isCsrfToken(keys, { ...session, id: newSessionId() }, token)).toBe(false);
  for (const bad of [undefined, '', 'x', token.slice(1), `${token}A`, `B${token.slice(1)}`]) {
    expect(isCsrfToken(keys, session, bad)).toBe(false);
  }
});
