import { describe, expect, test } from 'vitest';
import { engineUnderTest } from '../engine-fixture.ts';
import type { SubscriptionGrant, SubscriptionTokenReader } from '../ports.ts';

const closedWith = (code: number) => expect.objectContaining({ code });
const start = 1_000_000;

/** Reads what tests write: `ann/$vip/60` is a permit of ann for `$vip` for another 60 s, 0 for ever. */
const subscriptionTokens: SubscriptionTokenReader = {
  read: async (token): Promise<SubscriptionGrant> => {
    if (token === 'expired' || token === 'unavailable' || token === 'none') return { ok: false, why: token };
    const [user, group, seconds = '0', client] = token.split('/');
    if (group === undefined) return { ok: false, why: 'invalid' };
    const expiresAt = seconds === '0' ? {} : { expiresAt: start + Number(seconds) * 1000 };
    return {
      ok: true,
      user: user === '*' ? undefined : user,
      client,
      group,
      terms: { ...expiresAt, info: '"seat"', data: '"hi"' },
    };
  },
};

describe('connection tokens', () => {
  test('[JT6] given a token with an expiry, when a client connects, then the reply has it, and not the expiry of a session', async () => {
    const { client } = engineUnderTest();
    expect(await client().say({ id: 1, connect: { token: 'ann+60' } })).toMatchObject([
      { connect: { expires: true, ttl: 60 } },
    ]);
    const [reply] = await client().say({ id: 1, connect: { token: 'ann' } });
    expect(JSON.stringify(reply)).not.toContain('expires');
  });

  test('[JT24] [JT25] given a token with an expiry, when 25 s pass after it, then the connection is closed with 3005 unless it was refreshed', async () => {
    const { client, pass } = engineUnderTest({ limits: { pingIntervalMs: 3_600_000 } });
    const [stays, goes] = [client(), client()];
    for (const { say } of [stays, goes]) await say({ id: 1, connect: { token: 'ann+60' } });
    await pass(50_000);
    expect(await stays.say({ id: 2, refresh: { token: 'ann+60' } })).toMatchObject([
      {
        id: 2,
        refresh: { client: stays.connection.id, version: expect.any(String), expires: true, ttl: 60 },
      },
    ]);
    await pass(34_900);
    expect(goes.wire.closed).toBeUndefined();
    await pass(200);
    expect(goes.wire.closed).toEqual({ code: 3005, reason: 'connection expired' });
    expect(stays.wire.closed).toBeUndefined();
    await pass(50_000);
    expect(stays.wire.closed).toEqual(closedWith(3005));
  });

  test('[JT7] [JT26] [JT27] [JT28] [JT30] given a connection by a token, when `refresh` brings an unsuitable token, then each fault has its own result', async () => {
    const { client, metrics } = engineUnderTest();
    const ends: [string, number][] = [
      ['bob+60', 3500],
      ['rubbish', 3500],
      ['expired', 3005],
      ['ann+-1', 3005],
      ['ann+60+news', 3010],
      ['', 3501],
    ];
    for (const [token, code] of ends) {
      const { wire, say } = client();
      await say({ id: 1, connect: { token: 'ann+60' } });
      await say({ id: 2, refresh: { token } });
      expect(wire.closed, token).toEqual(closedWith(code));
    }
    expect(metrics.refusals).toEqual(['no_token']);
    const { wire, say } = client();
    await say({ id: 1, connect: { token: 'ann+60' } });
    expect(await say({ id: 2, refresh: { token: 'away' } })).toMatchObject([{ error: { code: 100, temporary: true } }]);
    expect(wire.closed).toBeUndefined();
  });

  test('[JT8] [JT20] [JT31] [JT32] given an unsuitable token, when a client connects, then the result is 109, 110, 3500, 3507 or 100', async () => {
    const { client, authenticator } = engineUnderTest();
    const first = async (token: string) => {
      const { wire, say } = client();
      return { reply: (await say({ id: 1, connect: { token } }))[0], closed: wire.closed };
    };
    expect(await first('expired')).toMatchObject({ reply: { error: { code: 109 } }, closed: undefined });
    const released = authenticator.released;
    expect(await first('ann+-1')).toMatchObject({ reply: { error: { code: 110 } }, closed: undefined });
    expect(authenticator.released).toBe(released + 1);
    expect(await first('away')).toMatchObject({ reply: { error: { code: 100, temporary: true } } });
    expect((await first('rubbish')).closed).toEqual({ code: 3500, reason: 'invalid token' });
    expect((await first('no_user')).closed).toEqual({ code: 3507, reason: 'permission denied' });
  });
});

describe('subscription tokens', () => {
  const subscribe = (token: string, channel = '$vip') => ({ id: 2, subscribe: { channel, token } });

  test('[PT1] [PT6] given a subscription token, when a client subscribes, then the group is joined with the info of the token', async () => {
    const { connected } = engineUnderTest({
      subscriptionTokens,
      groups: { presence: true, allowSubscribeForClient: false },
    });
    const ann = await connected('ann');
    expect(await ann.say({ id: 2, subscribe: { channel: '$vip' } })).toMatchObject([{ error: { code: 103 } }]);
    expect(await ann.say(subscribe('ann/$vip/60'))).toEqual([
      { id: 2, subscribe: { expires: true, ttl: 60, data: 'hi' } },
    ]);
    expect(await ann.say({ id: 3, presence: { channel: '$vip' } })).toMatchObject([
      { presence: { presence: { [ann.connection.id]: { user: 'ann', chan_info: 'seat' } } } },
    ]);
    // By then it is a member like any other.
    expect(await ann.say({ id: 4, publish: { channel: '$vip', data: 1 } })).toMatchObject([
      { push: { channel: '$vip' } },
      { id: 4, publish: {} },
    ]);
  });

  test('[PT2] [PT7] [PT8] [PT9] [PT10] given an unsuitable subscription token, when a client subscribes, then each fault has its own result', async () => {
    const { client } = engineUnderTest({ subscriptionTokens });
    const tries: [string, number][] = [
      ['bob/$vip', 3500],
      ['/$vip', 3500],
      ['ann/$other', 3500],
      ['*/$vip/60/somebody', 3500],
      ['expired', 109],
      ['rubbish', 103],
      ['none', 103],
      ['unavailable', 100],
      ['ann/$vip/-1', 110],
    ];
    for (const [token, code] of tries) {
      const { wire, say } = client();
      await say({ id: 1, connect: { token: 'ann' } });
      const [reply] = await say(subscribe(token));
      if (code >= 3000) expect(wire.closed, token).toEqual(closedWith(code));
      else expect(reply, token).toMatchObject({ id: 2, error: { code } });
    }
  });

  test('[PT2] given a token for one connection, when that connection subscribes, then it is accepted', async () => {
    const { connected } = engineUnderTest({ subscriptionTokens });
    const ann = await connected('ann');
    expect(await ann.say(subscribe(`*/$vip/0/${ann.connection.id}`))).toEqual([{ id: 2, subscribe: { data: 'hi' } }]);
  });

  test('[PT3] [PT11] given a subscription by a token, when 25 s pass after its expiry, then it ends with 2501 unless it was refreshed', async () => {
    const { connected, pass } = engineUnderTest({
      subscriptionTokens,
      limits: { pingIntervalMs: 3_600_000 },
    });
    const [stays, goes] = [await connected('ann'), await connected('ann')];
    for (const { say } of [stays, goes]) await say(subscribe('ann/$vip/60'));
    expect(await stays.say({ id: 3, sub_refresh: { channel: '$vip', token: 'ann/$vip/120' } })).toEqual([
      { id: 3, sub_refresh: { expires: true, ttl: 120 } },
    ]);
    await pass(84_900);
    expect(goes.wire.take()).toEqual([]);
    await pass(200);
    expect(goes.wire.take()).toEqual([
      { push: { channel: '$vip', unsubscribe: { code: 2501, reason: 'subscription expired' } } },
    ]);
    expect(stays.wire.take()).toEqual([]);
    expect(await stays.say({ id: 4, sub_refresh: { channel: '$vip', token: 'ann/$vip' } })).toEqual([
      { id: 4, sub_refresh: {} },
    ]);
    await pass(120_000);
    expect(stays.wire.take()).toEqual([]);
  });

  test('[PT4] [PT12] [PT13] [PT14] [PT15] [PT16] given a subscription by a token, when `sub_refresh` is unsuitable, then each fault has its own result', async () => {
    const { client } = engineUnderTest({ subscriptionTokens });
    const tries: [string, string, number][] = [
      ['ann/$vip', 'other', 103],
      ['ann/$vip', '', 3501],
      ['', '$vip', 107],
      ['bob/$vip', '$vip', 3500],
      ['rubbish', '$vip', 3500],
      ['none', '$vip', 108],
      ['unavailable', '$vip', 100],
      ['ann/$vip/-1', '$vip', 110],
    ];
    for (const [token, channel, code] of tries) {
      const { wire, say } = client();
      await say({ id: 1, connect: { token: 'ann' } }, subscribe('ann/$vip/60'));
      const [reply] = await say({ id: 3, sub_refresh: { channel, token } });
      if (code >= 3000) expect(wire.closed, token).toEqual(closedWith(code));
      else expect(reply, token).toMatchObject({ id: 3, error: { code } });
    }
    const { say } = client();
    await say({ id: 1, connect: { token: 'ann' } }, subscribe('ann/$vip/60'));
    expect(await say({ id: 3, sub_refresh: { channel: '$vip', token: 'expired' } })).toMatchObject([
      { push: { channel: '$vip', unsubscribe: { code: 2501 } } },
      { id: 3, error: { code: 109 } },
    ]);
    const server = client();
    await server.say({ id: 1, connect: { token: 'ann+60+news' } });
    await server.say({ id: 2, sub_refresh: { channel: 'news', token: 'ann/news' } });
    expect(server.wire.closed).toEqual(closedWith(3501));
  });

  test('[PT5] [PT17] given a token check in progress, when the client sends other commands about the group, then they wait, and a second subscribe is error 105', async () => {
    const latch = Promise.withResolvers<void>();
    const slow: SubscriptionTokenReader = {
      read: (token) => latch.promise.then(() => subscriptionTokens.read(token)),
    };
    const { connected } = engineUnderTest({ subscriptionTokens: slow });
    const ann = await connected('ann');
    expect(
      await ann.say(subscribe('ann/$vip/60'), subscribe('ann/$vip/60'), {
        id: 3,
        unsubscribe: { channel: '$vip' },
      }),
    ).toMatchObject([{ id: 2, error: { code: 105 } }]);
    latch.resolve();
    expect(await ann.say({ id: 4, presence: { channel: 'x' } })).toMatchObject([
      { id: 2, subscribe: { ttl: 60 } },
      { id: 3, unsubscribe: {} },
      { id: 4 },
    ]);
    const gone = await connected('ann');
    await gone.say(subscribe('ann/$vip/60'));
    gone.connection.onClosed(1006);
    expect(gone.connection.memberships.size).toBe(0);
  });
});

describe('anonymous clients', () => {
  test('[AN2] given options for clients, when anonymous clients request actions, then only options for anonymous clients permit them', async () => {
    const options = { presence: true, retention: { size: 5, ttlMs: 1_000, metaTtlMs: 1_000 } };
    const commands = [
      { id: 2, subscribe: { channel: 'a' } },
      { id: 3, publish: { channel: 'a', data: 1 } },
      { id: 4, presence: { channel: 'a' } },
      { id: 5, history: { channel: 'a' } },
    ];
    const codesOf = async (groups: object) => {
      const { connected } = engineUnderTest({ groups: { ...options, ...groups } });
      const { say } = await connected('+60');
      const replies = (await say(...commands)) as { id?: number; error?: { code: number } }[];
      return replies
        .filter(({ id }) => id !== undefined)
        .toSorted((a, b) => (a.id ?? 0) - (b.id ?? 0))
        .map(({ error }) => error?.code ?? 0);
    };
    expect(await codesOf({})).toEqual([103, 103, 103, 103]);
    expect(await codesOf({ allowSubscribeForAnonymous: true })).toEqual([0, 103, 103, 103]);
    const all = {
      allowSubscribeForAnonymous: true,
      allowPublishForAnonymous: true,
      allowPresenceForAnonymous: true,
      allowHistoryForAnonymous: true,
    };
    expect(await codesOf(all)).toEqual([0, 0, 0, 0]);
    expect(await codesOf({ ...all, allowSubscribeForClient: false })).toEqual([103, 0, 103, 103]);
  });
});
