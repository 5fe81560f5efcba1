import { expect, test } from 'vitest';
import { createAddressReader, isNetwork } from './client-address.ts';

const from = (trusted: readonly string[], remote: string, forwardedFor?: string) =>
  createAddressReader(trusted)({ remote, forwardedFor });

test('[LM2] without trusted proxies what a client says of itself does not count', () => {
  expect(from([], '203.0.113.9', '198.51.100.1')).toBe('203.0.113.9');
  expect(from(['10.0.0.0/8'], '203.0.113.9', '198.51.100.1')).toBe('203.0.113.9');
});

test('[LM2] behind trusted proxies it is the last address that none of them wrote of another', () => {
  const trusted = ['127.0.0.1', '10.0.0.0/8', 'fd00::/8'];
  expect(from(trusted, '127.0.0.1', '198.51.100.1')).toBe('198.51.100.1');
  expect(from(trusted, '10.1.2.3', '192.0.2.66, 198.51.100.1, 10.9.9.9')).toBe('198.51.100.1');
  expect(from(trusted, 'fd00::7', '198.51.100.1')).toBe('198.51.100.1');
  expect(from(trusted, '127.0.0.1', 'unknown, , 198.51.100.1')).toBe('198.51.100.1');
  expect(from(trusted, '127.0.0.1')).toBe('127.0.0.1');
});

test('[LM2] IPv4 within IPv6 is IPv4, and an IPv6 address counts by its /64', () => {
  expect(from([], '::ffff:203.0.113.9')).toBe('203.0.113.9');
  const bucket = '2001:db8:0:1::/64';
  for (const address of ['2001:db8:0:1::5', '2001:0db8:0000:0001:ffff:0:0:1', '2001:DB8:0:1:1:2:3:4']) {
    expect(from([], address)).toBe(bucket);
  }
  expect(from([], '::1')).toBe('0:0:0:0::/64');
  expect(from(['::1'], '::1', '2001:db8:0:1::9')).toBe(bucket);
});

test('[LM2] addresses and networks are told from other texts', () => {
  const good = ['10.0.0.1', '10.0.0.0/8', '::1', 'fd00::/8'];
  const bad = ['', 'loopback', '10.0.0.0/33', '10.0.0', 'fd00::/129', '10.0.0.1/x'];
  expect(good.map(isNetwork)).toEqual(good.map(() => true));
  expect(bad.map(isNetwork)).toEqual(bad.map(() => false));
});
