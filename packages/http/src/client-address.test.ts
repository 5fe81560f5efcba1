import { expect, test } from 'vitest';
import { addressBucket, createAddressReader, isNetwork } from './client-address.ts';

const from = (trusted: readonly string[], remote: string, forwardedFor?: string) =>
  addressBucket(createAddressReader(trusted)({ remote, forwardedFor }));

test('[HT16] given no trusted proxies, then X-Forwarded-For is ignored', () => {
  expect(from([], '203.0.113.9', '198.51.100.1')).toBe('203.0.113.9');
  expect(from(['10.0.0.0/8'], '203.0.113.9', '198.51.100.1')).toBe('203.0.113.9');
});

test('[HT16] given trusted proxies, then it is the last address that none of them added', () => {
  const trusted = ['127.0.0.1', '10.0.0.0/8', 'fd00::/8'];
  expect(from(trusted, '127.0.0.1', '198.51.100.1')).toBe('198.51.100.1');
  expect(from(trusted, '10.1.2.3', '192.0.2.66, 198.51.100.1, 10.9.9.9')).toBe('198.51.100.1');
  expect(from(trusted, 'fd00::7', '198.51.100.1')).toBe('198.51.100.1');
  expect(from(trusted, '127.0.0.1', 'unknown, , 198.51.100.1')).toBe('198.51.100.1');
  expect(from(trusted, '127.0.0.1')).toBe('127.0.0.1');
});

test('[HT16] IPv4 within IPv6 is IPv4, and an IPv6 address counts by its /64', () => {
  expect(from([], '::ffff:203.0.113.9')).toBe('203.0.113.9');
  const bucket = '2001:db8:0:1::/64';
  for (const address of ['2001:db8:0:1::5', '2001:0db8:0000:0001:ffff:0:0:1', '2001:DB8:0:1:1:2:3:4']) {
    expect(from([], address)).toBe(bucket);
  }
  expect(from([], '::1')).toBe('0:0:0:0::/64');
  expect(from(['::1'], '::1', '2001:db8:0:1::9')).toBe(bucket);
});

test('[HT26] ports, brackets, quotes and zones of forwarded addresses are removed', () => {
  const trusted = ['127.0.0.1', '10.0.0.0/8', 'fd00::/8'];
  const bucket = '2001:db8:0:1::/64';
  for (const [entry, address] of [
    ['2.1.1.1:5001', '2.1.1.1'],
    ['[2001:db8:0:1::7]:443', bucket],
    ['[2001:db8:0:1::7]', bucket],
    ['"[2001:db8:0:1::7]:4711"', bucket],
    ['[::ffff:2.1.1.1]:5001', '2.1.1.1'],
    ['2001:db8:0:1::7%eth0', bucket],
    ['9.9.9.9:1, 2.1.1.1:5001 , 10.0.0.7:80, [fd00::1]:80', '2.1.1.1'],
    ['2.1.1.1:65535', '2.1.1.1'],
    ['"2.1.1.1"', '2.1.1.1'],
  ] as const) {
    expect([entry, from(trusted, '127.0.0.1', entry)]).toEqual([entry, address]);
  }
});

test('[HT27] a forwarded entry that is not an address with a valid port ends the chain', () => {
  const trusted = ['127.0.0.1', '10.0.0.0/8'];
  const bad = [
    ...['2.1.1.1:65536', '2.1.1.1:99999', '2.1.1.1:99999999', '2.1.1.1:', '2.1.1.1:x', '2.1.1.1:-1'],
    ...['2.1.1.1:80:80', `2.1.1.1:${'5'.repeat(200)}`, '999.1.1.1:5001', '2.1.1', '2.1.1.1.1', '2.1.1.1%eth0'],
    ...['[2.1.1.1', '[2.1.1.1]', '[2.1.1.1]:80', '[2001:db8::1]:', '[2001:db8::1]:65536', '[2001:db8::1]80'],
    ...['[]', '[]:80', '"2.1.1.1', '2.1".1.1', '2.1.1.1/32', '2.1.1.1 80', 'unknown', '_hidden', '-'],
  ];
  for (const entry of bad) {
    expect([entry, from(trusted, '127.0.0.1', entry)]).toEqual([entry, '127.0.0.1']);
    expect([entry, from(trusted, '127.0.0.1', `6.6.6.6, ${entry}`)]).toEqual([entry, '127.0.0.1']);
    expect([entry, from(trusted, '127.0.0.1', `6.6.6.6, ${entry}, 10.0.0.7`)]).toEqual([entry, '10.0.0.7']);
  }
});

test('[HT16] addresses and networks are recognised', () => {
  const good = ['10.0.0.1', '10.0.0.0/8', '::1', 'fd00::/8'];
  const bad = ['', 'loopback', '10.0.0.0/33', '10.0.0', 'fd00::/129', '10.0.0.1/x'];
  expect(good.map(isNetwork)).toEqual(good.map(() => true));
  expect(bad.map(isNetwork)).toEqual(bad.map(() => false));
});
