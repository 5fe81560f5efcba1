import { expect, test } from 'vitest';
import { parseRedisUrl } from './address.ts';

test('[RD6] one server is given by the usual URL', () => {
  const plain = { is: 'single', host: 'one', port: 6_379, db: 0, isTls: false };
  expect(parseRedisUrl('redis://one')).toEqual(plain);
  expect(parseRedisUrl('redis://one/')).toEqual(plain);
  expect(parseRedisUrl('redis://[::1]:7/3')).toEqual({ ...plain, host: '::1', port: 7, db: 3 });
  expect(parseRedisUrl('redis://one?db=4')).toEqual({ ...plain, db: 4 });
  expect(parseRedisUrl('rediss://ann:s%40cret@one/2')).toEqual({
    ...{ ...plain, db: 2, isTls: true },
    ...{ username: 'ann', password: 's@cret' },
  });
  expect(parseRedisUrl('redis://:s@cret@one')).toEqual({ ...plain, password: 's@cret' });
  expect(parseRedisUrl('redis://:secret@one')).toEqual({ ...plain, password: 'secret' });
});

test('[RD6] sentinels are given between commas, the primary and its database behind them', () => {
  expect(parseRedisUrl('redis+sentinel://ann:s%40cret@one:26380,two,[::1]:7/main/3')).toEqual({
    is: 'sentinel',
    sentinels: [
      { host: 'one', port: 26_380 },
      { host: 'two', port: 26_379 },
      { host: '::1', port: 7 },
    ],
    primary: 'main',
    db: 3,
    username: 'ann',
    password: 's@cret',
    isTls: false,
  });
  expect(parseRedisUrl('rediss+sentinel://:secret@one/main')).toMatchObject({
    ...{ db: 0, password: 'secret', isTls: true },
  });
});

test('[RD6] nodes of a cluster are given between commas, without a database', () => {
  expect(parseRedisUrl('redis+cluster://one:7000,two')).toEqual({
    is: 'cluster',
    nodes: [
      { host: 'one', port: 7_000 },
      { host: 'two', port: 6_379 },
    ],
    isTls: false,
  });
  expect(parseRedisUrl('redis+cluster://one/')).toMatchObject({ is: 'cluster' });
});

test.each([
  'redis://',
  'redis:///1',
  'redis:///run/redis.sock',
  'redis://:6379',
  'redis://:secret@/1',
  'redis://one:0',
  'redis://one:99999',
  'redis://one:port',
  'redis://one/abc',
  'redis://one/1/2',
  'redis://one/-1',
  'redis://one/1x',
  'redis://one/1?db=2',
  'redis://one?db=x',
  'redis://one?database=1',
  'redis://one/1#fragment',
  'redis://one,two',
  'redis://a%:b@one',
  'rediss://one/abc',
  'redis+sentinel://one/%/1',
  'http://one',
  'one:6379',
  'redis+sentinel://one',
  'redis+sentinel://one/main/x',
  'redis+sentinel://one/main/1/2',
  'redis+sentinel://,one/main',
  'redis+cluster://one/1',
  'redis+cluster://one:99999',
  'redis+cluster://one:0',
  'redis+cluster://a%:b@one:1',
  'redis+cluster://',
  'redis+other://one',
])('[RD6] %s is refused', (text) => {
  expect(parseRedisUrl(text)).toBeUndefined();
});
