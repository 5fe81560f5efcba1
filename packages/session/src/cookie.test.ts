import { sign } from 'cookie-signature';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { clearedCookie, cookieNameFor, readSessionCookies, sessionCookie } from './cookie.ts';
import { createTokenSigner, newSessionId } from './token.ts';

const NAME = '__Host-session_id';
const KEY = 'a-signing-key-of-the-cookie-tests-0123456789';
const token = createTokenSigner([KEY]).issue(newSessionId(), 'AAAAAAAAAAAAAAAAAAAAAA');

test('[CK1] the cookie carries the attributes of a session and reads back', () => {
  const header = sessionCookie(NAME, token, { secure: true, maxAgeS: 3600.7 });
  expect(header).toContain('; Max-Age=3600; Path=/; HttpOnly; Secure; SameSite=Lax');
  expect(header).not.toContain('Domain');
  expect(header.startsWith(`${NAME}=s%3A`)).toBe(true);
  expect(readSessionCookies(header.split('; ')[0], NAME)).toEqual([token]);
});

test('[CK1] the value is what express-session would write for the same content', () => {
  const content = token.slice(0, token.lastIndexOf('.'));
  const header = sessionCookie(NAME, token, { secure: true });
  expect(header.split('; ')[0]).toBe(`${NAME}=${encodeURIComponent(`s:${sign(content, KEY)}`)}`);
});

test('[CK2] without an age the cookie ends with the browser; no age exceeds 400 days', () => {
  expect(sessionCookie(NAME, token, { secure: true })).not.toContain('Max-Age');
  expect(sessionCookie(NAME, token, { secure: true, maxAgeS: 1e9 })).toContain('Max-Age=34560000;');
});

test('[CK3] names are exact, every value counts once, and at most 64 cookies of one name are read', () => {
  const value = `s:${token}`;
  for (const name of ['__HOST-session_id', '__host-session_id', 'session_id', 'x__Host-session_id']) {
    expect(readSessionCookies(`${name}=${value}`, NAME)).toEqual([]);
  }
  const five = `a=1; ${NAME}=x;${NAME}="${value}"; ${NAME}=s:third; ${NAME}=y; ${NAME}=s:third; ${NAME}=s:5`;
  expect(readSessionCookies(five, NAME)).toEqual(['', token, 'third', '5']);
  const garbage = (count: number) => `${NAME}=garbage; `.repeat(count);
  expect(readSessionCookies(`${garbage(63)}${NAME}=${value}`, NAME)).toEqual(['', token]);
  expect(readSessionCookies(`${garbage(64)}${NAME}=${value}`, NAME)).toEqual(['']);
  expect(readSessionCookies(`${NAME}=${value}; ${NAME}=x`, NAME)).toEqual([token, '']);
});

test('[CK4] hostile headers read as nothing or as empty tokens', () => {
  expect(readSessionCookies(undefined, NAME)).toEqual([]);
  expect(readSessionCookies('', NAME)).toEqual([]);
  expect(readSessionCookies(`${NAME}=%E0%A4%A`, NAME)).toEqual(['']);
  expect(readSessionCookies(`${NAME}=`, NAME)).toEqual(['']);
  expect(readSessionCookies(`${NAME}=s:${'a'.repeat(65_536)}`, NAME)).toEqual(['']);
  expect(readSessionCookies('__proto__=s:x; constructor=s:y', NAME)).toEqual([]);
  fc.assert(fc.property(fc.string(), (text) => readSessionCookies(`${text}; ${NAME}=${text}`, NAME).length <= 64));
});

test('[CK5] clearing repeats the attributes', () => {
  const set = sessionCookie(NAME, token, { secure: true, embed: true });
  const cleared = clearedCookie(NAME, { secure: true, embed: true });
  expect(cleared).toContain('Max-Age=0');
  const attributes = (header: string) =>
    header
      .split('; ')
      .slice(1)
      .filter((part) => !/Max-Age|Expires/.test(part));
  expect(attributes(cleared)).toEqual(attributes(set));
});

test('[CK6] embed mode is SameSite=None and Partitioned', () => {
  expect(sessionCookie(NAME, token, { secure: true, embed: true })).toMatch(/Secure; Partitioned; SameSite=None/);
});

test('[CK7] the name follows the scheme of the public address', () => {
  expect(cookieNameFor('https://app.example.com')).toBe('__Host-session_id');
  expect(cookieNameFor('http://localhost:8080')).toBe('session_id');
  expect(cookieNameFor('https://app.example.com', '__Host-Http-sid')).toBe('__Host-Http-sid');
});
