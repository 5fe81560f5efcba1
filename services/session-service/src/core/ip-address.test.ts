import { expect, test } from 'vitest';
import { rateKeyOf, shortenIp } from './ip-address.ts';
import { summarizeUserAgent } from './user-agent.ts';

test('[SE10] given addresses, they are stored as networks and counted by address or /64', () => {
  expect(shortenIp('203.0.113.77')).toBe('203.0.113.0/24');
  expect(shortenIp('::ffff:203.0.113.77')).toBe('203.0.113.0/24');
  expect(shortenIp('2001:db8:aaaa:bbbb::1')).toBe('2001:db8:aaaa::/48');
  expect(shortenIp('not an address')).toBeNull();
  expect(shortenIp(undefined)).toBeNull();
  expect(rateKeyOf('203.0.113.77')).toBe('203.0.113.77/32');
  expect(rateKeyOf('::ffff:203.0.113.77')).toBe(rateKeyOf('203.0.113.77'));
  expect(rateKeyOf('2001:db8:1:1::1')).toBe(rateKeyOf('2001:db8:1:1:ffff::2'));
  expect(rateKeyOf('2001:db8:1:2::1')).not.toBe(rateKeyOf('2001:db8:1:1::1'));
});

test.each([
  ['Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0', 'Firefox on Linux'],
  [
    'Mozilla/5.0 (Macintosh; Intel Mac OS X 14_5) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.0 Safari/605.1.15',
    'Safari on macOS',
  ],
  [
    'Mozilla/5.0 (Linux; Android 15) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0 Mobile Safari/537.36',
    'Chrome on Android',
  ],
  [
    'Mozilla/5.0 (Windows NT 10.0) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0 Safari/537.36 Edg/140.0',
    'Edge on Windows',
  ],
  ['curl/8.9.1', 'curl'],
  ['something else', null],
  ['a'.repeat(100_000), null],
])('[SE1] the user agent %.40s… reads as %s', (userAgent, summary) => {
  expect(summarizeUserAgent(userAgent)).toBe(summary);
});
