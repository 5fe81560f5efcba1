import { describe, expect, test } from 'vitest';
import { readConnectionClaims, readSubscriptionClaims, readTerms } from './claims.ts';

describe('connection tokens', () => {
  test('[JT9] given a connection token, when its claims are read, then they are user, expiry, info, groups and meta', () => {
    expect(readConnectionClaims({})).toEqual({ user: '', expiresAt: Number.POSITIVE_INFINITY });
    const claims = {
      sub: 'ann',
      exp: 100,
      info: { name: 'Ann' },
      meta: { plan: 'free' },
      channels: ['a', 'b'],
      subs: {
        b: { info: 1, data: [2], expire_at: 50, override: { presence: { value: false }, unknown: 1 } },
        ['__proto__x']: {},
      },
    };
    expect(readConnectionClaims(claims)).toEqual({
      user: 'ann',
      expiresAt: 100_000,
      info: '{"name":"Ann"}',
      meta: '{"plan":"free"}',
      subs: new Map([
        ['a', {}],
        ['b', { info: '1', data: '[2]', expiresAt: 50_000, override: { presence: false } }],
        ['__proto__x', {}],
      ]),
    });
  });

  test('[JT33] given `expire_at` and `exp`, when claims are read, then `expire_at` takes precedence and 0 means no expiry', () => {
    expect(readConnectionClaims({ sub: 'a', exp: 100, expire_at: 200 })?.expiresAt).toBe(200_000);
    expect(readConnectionClaims({ sub: 'a', exp: 100, expire_at: 0 })?.expiresAt).toBe(Number.POSITIVE_INFINITY);
    const b64info = Buffer.from('{"a": 1}').toString('base64');
    expect(readConnectionClaims({ sub: 'a', b64info })?.info).toBe('{"a":1}');
  });

  test('[JT17] given claims of the wrong type or a subscription token, when claims are read, then they are rejected', () => {
    const bad: Record<string, unknown>[] = [
      { sub: 7 },
      { sub: ['ann'] },
      { sub: 'ann', meta: 'x' },
      { sub: 'ann', channels: 'a' },
      { sub: 'ann', channels: [1] },
      { sub: 'ann', subs: [] },
      { sub: 'ann', subs: { a: 1 } },
      { sub: 'ann', subs: { a: { override: { presence: true } } } },
      { sub: 'ann', expire_at: 'soon' },
      { sub: 'ann', expire_at: -1 },
      { sub: 'ann', b64info: 1 },
      { sub: 'ann', b64info: Buffer.from('{').toString('base64') },
      { sub: 'ann', channels: Array.from({ length: 1_001 }, (_, at) => `g${at}`) },
      { sub: 'ann', channel: '$vip' },
    ];
    for (const claims of bad) expect(readConnectionClaims(claims), JSON.stringify(claims)).toBeUndefined();
  });
});

describe('subscription tokens', () => {
  test('[PT1] [PT6] given a subscription token, when its claims are read, then they are the user or client, the group and the options', () => {
    const claims = {
      sub: 'ann',
      channel: '$vip',
      exp: 10,
      info: { seat: 1 },
      override: { join_leave: { value: true } },
    };
    expect(readSubscriptionClaims(claims)).toEqual({
      user: 'ann',
      client: undefined,
      group: '$vip',
      terms: { info: '{"seat":1}', override: { joinLeave: true }, expiresAt: 10_000 },
    });
    expect(readSubscriptionClaims({ client: 'c', channel: 'a' })).toMatchObject({
      user: undefined,
      client: 'c',
    });
    // Without `sub` and `client` the token is for anonymous clients, not for all.
    expect(readSubscriptionClaims({ channel: 'a' })).toMatchObject({ user: '', client: undefined });
    for (const bad of [
      { sub: 'ann' },
      { sub: 'ann', channel: '' },
      { sub: 'ann', channel: 1 },
      { sub: 1, channel: 'a' },
    ])
      expect(readSubscriptionClaims(bad), JSON.stringify(bad)).toBeUndefined();
  });

  test('[AQ2] given a result of the application, when it is read, then its members are those of a subscription token', () => {
    expect(readTerms({ info: 1, data: { a: 1 }, expire_at: 3 })).toEqual({
      info: '1',
      data: '{"a":1}',
      expiresAt: 3_000,
    });
    expect(readTerms({ expire_at: {} })).toBeUndefined();
  });
});
