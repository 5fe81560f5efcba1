import { expect, test } from 'vitest';
import { maxConnectionsFor, renderProxyConfig } from './haproxy.ts';

const plan = {
  bind: '127.0.0.1:8080',
  maxConnections: 1_000,
  gateways: [
    { name: 'a', host: '127.0.0.1', port: 1 },
    { name: 'b', host: '127.0.0.1', port: 2 },
  ],
  sessionServices: [{ name: 's', host: '127.0.0.1', port: 3 }],
  aggregators: [],
};

test('a list becomes one line per server', () => {
  const text = renderProxyConfig('bind @BIND@\n  @GATEWAYS@\n  @SESSION_SERVICES@\n', plan);
  expect(text).toBe('bind 127.0.0.1:8080\n  server a 127.0.0.1:1\n  server b 127.0.0.1:2\n  server s 127.0.0.1:3\n');
});

test('a name with many addresses becomes a server-template resolved by DNS', () => {
  const byDns = [{ name: 'gw', host: 'ws-gateway', port: 8080, count: 40 }];
  expect(renderProxyConfig('@GATEWAYS@', { ...plan, gateways: byDns })).toBe(
    'server-template gw 40 "ws-gateway:8080" resolvers dns init-addr none',
  );
});

test('a placeholder without a value is an error', () => {
  expect(() => renderProxyConfig('@GATEWAY@', plan)).toThrow('@GATEWAY@');
});

test.for([1_024, 20_000, 1_048_576])('[LB7] promises no more connections than %i files allow', (files) => {
  const connections = maxConnectionsFor(files);
  expect(2 * connections + 100).toBeLessThanOrEqual(files);
  expect(connections).toBeGreaterThan(300);
});
