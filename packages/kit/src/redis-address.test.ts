import { expect, test } from 'vitest';
import { parseRedisUrl } from './redis-address.ts';

test('[RD6] one server is given by the usual URL', () => {
  for (const url of ['redis://127.0.0.1:6379', 'rediss://ann:secret@redis.example.com/2']) {
    expect(parseRedisUrl(url)).toEqual({ is: 'single', url });
  }
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
