import { expect, test } from 'vitest';
import { isPostgresUrl } from './config-postgres.ts';

test.each([
  'postgres://db/muster',
  'postgresql://ann:s%40cret@db.example.com:6432/muster',
  'postgres://ann@[::1]:5432/muster?sslmode=verify-full',
  'postgres:///muster?host=/run/postgresql',
])('[DB9] %s names a server and a database', (url) => {
  expect(isPostgresUrl(url)).toBe(true);
});

test.each([
  'mysql://db/muster',
  'db/muster',
  'postgres://',
  'postgres://db',
  'postgres://db/',
  'postgres:///muster',
  'postgres://db/muster/more',
  'postgres://db:99999/muster',
  'postgres://db:0/muster',
  'postgres://db:port/muster',
  'postgres://one,two/muster',
  'postgres://a%:b@db/muster',
  'postgres://db/mus%ter',
  'postgres://db/muster?sslmode=maybe',
])('[DB9] %s is refused', (url) => {
  expect(isPostgresUrl(url)).toBe(false);
});
