import { expect, test } from 'vitest';
import { readCredential } from './credential.ts';

const NAME = 'session_id';
const A = '0b2ff0f1-5dbd-4b42-9c04-9b0c0a3d6f10.aaaa.sig';
const B = '7c1f2a53-1dd0-4a11-8f0e-6f3a0f1b2c3d.bbbb.sig';

const read = (cookie: string | undefined, authorization: string | undefined) =>
  readCredential({ cookieHeader: cookie, authorization }, NAME);

test('[CR1] a bearer token, a cookie, or nothing', () => {
  expect(read(undefined, undefined)).toEqual({ is: 'none' });
  expect(read(undefined, 'Basic abc')).toEqual({ is: 'none' });
  expect(read(undefined, `bearer   ${A} `)).toEqual({ is: 'bearer', token: A });
  expect(read(undefined, 'Bearer')).toEqual({ is: 'bearer', token: '' });
  expect(read(undefined, 'Bearer a b')).toEqual({ is: 'bearer', token: '' });
  expect(read(`${NAME}=s:${A}`, undefined)).toEqual({ is: 'cookie', tokens: [A] });
  expect(read(`${NAME}=s:${A}`, 'Basic abc')).toEqual({ is: 'cookie', tokens: [A] });
});

test('[CR2] two sessions in one request are ambiguous, one session twice is not', () => {
  expect(read(`${NAME}=s:${A}`, `Bearer ${B}`)).toEqual({ is: 'ambiguous' });
  expect(read(`${NAME}=s:${A}`, `Bearer ${A}`)).toEqual({ is: 'bearer', token: A });
  expect(read(`${NAME}=garbage`, `Bearer ${A}`)).toEqual({ is: 'ambiguous' });
});

test('[CR3] the longest header of the worst shape is read in linear time', () => {
  const spaces = ' '.repeat(14_500);
  const hostile = [
    `Bearer${spaces}x y`,
    `Bearer ${'x'.repeat(14_000)} y`,
    `Bearer${spaces}`,
    `bearer${'\t'.repeat(14_000)}x`,
  ];
  const begun = performance.now();
  for (let n = 0; n < 50; n += 1) {
    for (const header of hostile) expect(read(undefined, header)).toEqual({ is: 'bearer', token: '' });
  }
  // One of these headers alone took 280 ms of CPU when the pattern was quadratic; all 200 take a few milliseconds.
  expect(performance.now() - begun).toBeLessThan(2_000);
  expect(read(undefined, `Bearer${spaces}${A}${spaces.slice(0, 1_000)}`)).toEqual({ is: 'bearer', token: A });
});
