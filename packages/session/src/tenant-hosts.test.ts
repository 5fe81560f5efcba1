import { expect, test } from 'vitest';
import { createTenantHosts } from './tenant-hosts.ts';

test('[TN1] given tenants with hosts, when a session is used, then it is valid at its own hosts only, elsewhere only without a host', () => {
  const hosts = createTenantHosts(['shop.example.com=shop', 'bank.example.com=bank', 'b2.example.com=bank']);
  expect(hosts.admits('shop.example.com', 'shop')).toBe(true);
  expect(hosts.admits('SHOP.example.com:8443', 'shop')).toBe(true);
  for (const same of ['shop.example.com.', 'SHOP.Example.com.:443', 'shop.example.com:']) {
    expect([same, hosts.tenantOf(same), hosts.admits(same, 'bank')]).toEqual([same, 'shop', false]);
  }
  expect(hosts.tenantOf('shop.example.com..')).toBeUndefined();
  expect(createTenantHosts(['Shop.Example.com.=shop']).tenantOf('shop.example.com')).toBe('shop');
  expect(hosts.admits('b2.example.com', 'bank')).toBe(true);
  expect(hosts.admits('shop.example.com', 'bank')).toBe(false);
  expect(hosts.admits('shop.example.com', 'default')).toBe(false);
  expect(hosts.admits('www.example.com', 'default')).toBe(true);
  expect(hosts.admits('www.example.com', 'shop')).toBe(false);
  expect(hosts.admits(undefined, 'shop')).toBe(false);
  expect(hosts.tenantOf('shop.example.com')).toBe('shop');
  expect(hosts.tenantOf('www.example.com')).toBeUndefined();
});

test('[TN1] given no hosts, when a session is used, then it is valid everywhere', () => {
  expect(createTenantHosts([]).admits('anything', 'shop')).toBe(true);
});

test('[TN2] given a malformed entry or a repeated host, when it is read, then the error names it', () => {
  expect(() => createTenantHosts(['shop'])).toThrow('shop is not host=tenant');
  expect(() => createTenantHosts(['a=b c'])).toThrow(TypeError);
  expect(() => createTenantHosts(['a=b', 'A.=c'])).toThrow('a is named twice');
});
