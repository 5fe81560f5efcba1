import { expect, test } from 'vitest';
import { parseClientId, parseGroupName } from './ids.ts';

test('[NM1] given a text, when it is parsed as a group name, then only 1 to 255 printable ASCII characters are accepted', () => {
  expect(parseGroupName('chat:42')).toBe('chat:42');
  expect(parseGroupName('__proto__')).toBe('__proto__');
  expect(parseGroupName('x'.repeat(255))).toHaveLength(255);
  for (const text of ['', 'x'.repeat(256), 'caf\u00e9', 'a\nb', 'a\u0000', '\u007f'])
    expect(parseGroupName(text)).toBeUndefined();
});

test('[NM2] given a text, when it is parsed as a client id, then only a canonical lower-case UUID is accepted', () => {
  expect(parseClientId('7f0c8c0e-30f8-4f4b-9d0d-2f8b4ad0a001')).toBeDefined();
  expect(parseClientId('7F0C8C0E-30F8-4F4B-9D0D-2F8B4AD0A001')).toBeUndefined();
  expect(parseClientId('{7f0c8c0e-30f8-4f4b-9d0d-2f8b4ad0a001}')).toBeUndefined();
});
