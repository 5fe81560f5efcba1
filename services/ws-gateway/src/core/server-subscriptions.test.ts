import type { GroupKey } from '@muster/bus/group-key';
import { createMemoryBroker } from '@muster/bus/memory-broker';
import type { GroupName } from '@muster/protocol/ids';
import { describe, expect, test } from 'vitest';
import { engineUnderTest, settle } from './engine-fixture.ts';

const retention = { size: 50, ttlMs: 60_000, metaTtlMs: 120_000 };
const KEPT = { groups: { retention } };
const MINE = '#ann' as GroupName;

// biome-ignore lint/suspicious/noExplicitAny: tests look into JSON of every shape.
const first = (messages: unknown[]): any => messages[0];
const withSubs = (...names: string[]) => ({ subs: new Map(names.map((name) => [name, {}])) });

describe('server-side subscriptions', () => {
  test('[SS1] [SS13] given groups of the credential, when a client connects, then the reply has their positions, and to subscribe again is error 105', async () => {
    const { authenticator, client, connected } = engineUnderTest({ ...KEPT, personalGroups: '#' });
    const bob = await connected('bob');
    await bob.say({ id: 2, publish: { channel: 'news', data: 'before' } });
    authenticator.more = withSubs('news');
    const ann = client();
    const { connect } = first(await ann.say({ id: 1, connect: { token: 'ann' } }));
    expect(connect.subs).toEqual({
      [MINE]: { recoverable: true, positioned: true, epoch: expect.any(String) },
      news: { recoverable: true, positioned: true, epoch: expect.any(String), offset: 1 },
    });
    await bob.say({ id: 3, publish: { channel: 'news', data: 'after' } });
    expect(ann.wire.take()).toMatchObject([{ push: { channel: 'news', pub: { data: 'after', offset: 2 } } }]);
    expect(await ann.say({ id: 2, subscribe: { channel: 'news' } })).toMatchObject([{ error: { code: 105 } }]);
  });

  test('[SS2] given publications during connect, when the client is connected, then they follow the reply once and in order', async () => {
    const broker = createMemoryBroker();
    const { newest } = broker.streams;
    const held = Promise.withResolvers<void>();
    broker.streams.newest = async (group, retention) => {
      if (group === 'slow') await held.promise;
      return newest(group, retention);
    };
    const { authenticator, client, connected } = engineUnderTest({ ...KEPT, broker });
    const bob = await connected('bob');
    authenticator.more = withSubs('quick', 'slow');
    const ann = client();
    expect(await ann.say({ id: 1, connect: { token: 'ann' } })).toEqual([]);
    const commands = [1, 2, 3].map((data) => ({ id: data + 1, publish: { channel: 'quick', data } }));
    await bob.say(...commands);
    expect(ann.wire.take()).toEqual([]);
    held.resolve();
    await settle();
    const [reply, ...pushes] = ann.wire.take();
    expect(first([reply]).connect.subs.quick.offset).toBeUndefined();
    expect(pushes).toMatchObject([1, 2, 3].map((data) => ({ push: { pub: { data, offset: data } } })));
  });

  test('[SS3] [SS14] given positions in connect, when a client reconnects, then it receives what it missed, or is not recovered', async () => {
    const { authenticator, client, connected } = engineUnderTest(KEPT);
    const bob = await connected('bob');
    await bob.say(...[1, 2, 3].map((data) => ({ id: data + 1, publish: { channel: 'news', data } })));
    authenticator.more = withSubs('news');
    const [{ connect }] = (await client().say({ id: 1, connect: { token: 'ann' } })) as [
      { connect: { subs: { news: { epoch: string } } } },
    ];
    const { epoch } = connect.subs.news;
    const recover = { recover: true, offset: 1, epoch };
    const back = first(await client().say({ id: 1, connect: { token: 'ann', subs: { news: recover } } }));
    expect(back.connect.subs.news).toMatchObject({
      ...{ was_recovering: true, recovered: true, offset: 1 },
      publications: [
        { data: 2, offset: 2 },
        { data: 3, offset: 3 },
      ],
    });
    const lost = first(
      await client().say({ id: 1, connect: { token: 'ann', subs: { news: { ...recover, epoch: 'x' } } } }),
    );
    expect(lost.connect.subs.news).toMatchObject({ was_recovering: true, offset: 3 });
    expect(lost.connect.subs.news.recovered).toBeUndefined();
  });

  test('[SS4] [SS15] [SS16] given groups that only the client names, when it connects, then permitted groups are kept, others omitted, and an invalid name closes with 3501', async () => {
    const { client } = engineUnderTest(KEPT);
    const subs = { free: { recover: true }, $private: { recover: true }, 'for#bob': {} };
    const { connect } = first(await client().say({ id: 1, connect: { token: 'ann', subs } }));
    expect(Object.keys(connect.subs)).toEqual(['free']);
    const bad = client();
    await bad.say({ id: 1, connect: { token: 'ann', subs: { żółć: {} } } });
    expect(bad.wire.closed?.code).toBe(3501);
  });

  test('[SS15] given a group of a removed namespace, when a client names it, then it is omitted', async () => {
    const { client } = engineUnderTest({ ...KEPT, isKnown: (group) => !group.startsWith('gone:') });
    const subs = { 'gone:1': { recover: true, offset: 4, epoch: 'x' }, free: {} };
    const ann = client();
    const { connect } = first(await ann.say({ id: 1, connect: { token: 'ann', subs } }));
    expect(Object.keys(connect.subs)).toEqual(['free']);
    expect(ann.wire.closed).toBeUndefined();
  });

  test('[SS12] given more publications than the send buffer during connect, when the client is connected, then kept publications follow once and in order', async () => {
    const broker = createMemoryBroker();
    const { newest } = broker.streams;
    const held = Promise.withResolvers<void>();
    broker.streams.newest = async (group, retention) => {
      if (group === 'slow') await held.promise;
      return newest(group, retention);
    };
    const { authenticator, client, connected, pass, metrics } = engineUnderTest({
      ...{ ...KEPT, broker },
      limits: { maxSendBufferBytes: 16_384 },
    });
    const bob = await connected('bob');
    authenticator.more = withSubs('quick', 'slow');
    const ann = client();
    await ann.say({ id: 1, connect: { token: 'ann' } });
    const text = 'x'.repeat(3_000);
    for (let n = 1; n <= 20; n++) await bob.say({ id: n + 1, publish: { channel: 'quick', data: text } });
    expect(ann.wire.closed).toBeUndefined();
    expect(ann.connection.sendBuffer.waitingBytes).toBeLessThanOrEqual(16_384);
    held.resolve();
    await settle();
    await pass(1_000);
    const [reply, ...pushes] = ann.wire.take();
    expect(first([reply]).connect.subs.quick.offset).toBeUndefined();
    const offsets = Array.from({ length: 20 }, (_, n) => ({ push: { pub: { offset: n + 1 } } }));
    expect(pushes).toMatchObject(offsets);
    await bob.say({ id: 30, publish: { channel: 'quick', data: 'live' } });
    expect(ann.wire.take()).toMatchObject([{ push: { pub: { data: 'live', offset: 21 } } }]);
    expect(ann.wire.closed).toBeUndefined();
    expect(metrics.slow).not.toContain('disconnect');
  });

  test('[SS23] given a group without history, when publications do not fit during connect, then they are omitted', async () => {
    const broker = createMemoryBroker();
    const join = Promise.withResolvers<void>();
    const connectBus = broker.connect;
    broker.connect = (handlers) => {
      const bus = connectBus(handlers);
      const subscribe = async (group: GroupKey) => {
        if (group === 'slow') await join.promise;
        await bus.subscribe(group);
      };
      return { ...bus, subscribe };
    };
    const { authenticator, client, connected } = engineUnderTest({
      broker,
      limits: { maxSendBufferBytes: 16_384 },
    });
    const bob = await connected('bob');
    authenticator.more = withSubs('quick', 'slow');
    const ann = client();
    await ann.say({ id: 1, connect: { token: 'ann' } });
    const text = 'x'.repeat(3_000);
    for (let n = 1; n <= 20; n++) await bob.say({ id: n + 1, publish: { channel: 'quick', data: text } });
    expect(ann.wire.closed).toBeUndefined();
    expect(ann.connection.sendBuffer.waitingBytes).toBeLessThanOrEqual(16_384);
    ann.wire.isRead = false;
    join.resolve();
    await settle();
    expect(first(ann.wire.take())).toHaveProperty('connect');
    for (const data of [text, 'live']) await bob.say({ id: 30, publish: { channel: 'quick', data } });
    expect(ann.wire.take()).toMatchObject([text, 'live'].map((data) => ({ push: { pub: { data } } })));
    expect(ann.wire.closed).toBeUndefined();
  });

  test('[SS17] given a group of the credential that does not exist, when a client connects, then the reply is error 102', async () => {
    const { authenticator, client } = engineUnderTest(KEPT);
    authenticator.more = withSubs('żółć');
    expect(await client().say({ id: 1, connect: { token: 'ann' } })).toMatchObject([
      { error: { code: 102, message: expect.stringContaining('credential names the group `żółć`') } },
    ]);
    expect(authenticator.holders.get('ann')?.size).toBe(0);
  });

  test('[SS18] given more groups than MAX_SUBSCRIPTIONS, when a client connects, then it is closed with 3505', async () => {
    const { authenticator, client } = engineUnderTest(KEPT);
    authenticator.more = withSubs('1', '2', '3', '4', '5');
    const ann = client();
    await ann.say({ id: 1, connect: { token: 'ann' } });
    expect(ann.wire.closed).toEqual({
      code: 3505,
      reason: 'channel limit: 5 groups, at most 4 (MAX_SUBSCRIPTIONS)',
    });
    expect(authenticator.holders.get('ann')?.size).toBe(0);
  });

  test('[SS5] given a group that cannot be joined, when a client connects, then the reply is error 100 and no membership remains', async () => {
    const { authenticator, client, broker, engine } = engineUnderTest(KEPT);
    authenticator.more = withSubs('a', 'b');
    broker.stop();
    const ann = client();
    expect(await ann.say({ id: 1, connect: { token: 'ann' } })).toMatchObject([
      { error: { code: 100, temporary: true } },
    ]);
    expect(engine.counts()).toMatchObject({ groups: 0, subscriptions: 0 });
    expect(authenticator.holders.get('ann')?.size).toBe(0);
    broker.start();
    expect(first(await client().say({ id: 1, connect: { token: 'ann' } })).connect.subs).toHaveProperty('b');
  });

  test('[SS6] given lost publications, when they are detected, then the connection is closed with 3010', async () => {
    const { authenticator, connected, broker, engine } = engineUnderTest(KEPT);
    authenticator.more = withSubs('news');
    const ann = await connected('ann');
    authenticator.more = {};
    broker.streams.flush();
    await engine.checkPositions();
    expect(ann.wire.closed).toEqual({ code: 3010, reason: 'insufficient state' });
  });

  test('[SS7] given a server-side subscription with an expiry, when 25 s pass after it, then the connection is closed with 3006', async () => {
    const { authenticator, connected, pass } = engineUnderTest({
      ...KEPT,
      limits: { pingIntervalMs: 1_000_000, pongTimeoutMs: 900_000 },
    });
    authenticator.more = { subs: new Map([['news', { expiresAt: 1_000_000 + 60_000 }]]) };
    const ann = await connected('ann');
    await pass(84_000);
    expect(ann.wire.closed).toBeUndefined();
    await pass(2_000);
    expect(ann.wire.closed?.code).toBe(3006);
  });

  test('[SS8] given an override of a subscription, when the client connects, then it takes precedence over the group options', async () => {
    const { authenticator, client, connected, engine } = engineUnderTest({
      groups: { retention, presence: false },
    });
    const override = {
      presence: true,
      joinLeave: true,
      forcePushJoinLeave: true,
      forceRecovery: false,
      forcePositioning: false,
    };
    authenticator.more = {
      info: '{"name":"Ann"}',
      subs: new Map([['news', { override, info: '{"role":1}', data: '{"topic":2}' }]]),
    };
    const ann = client();
    const [reply, join] = await ann.say({ id: 1, connect: { token: 'ann' } });
    expect(first([reply]).connect.subs).toEqual({ news: { data: { topic: 2 } } });
    const info = {
      user: 'ann',
      client: ann.connection.id,
      conn_info: { name: 'Ann' },
      chan_info: { role: 1 },
    };
    expect(join).toEqual({ push: { channel: 'news', join: { info } } });
    authenticator.more = {};
    await connected('bob');
    expect(engine.counts().subscriptions).toBe(1);
  });
});

describe('control commands of back ends', () => {
  const call = async (engine: ReturnType<typeof engineUnderTest>['engine'], method: string, params: object) => {
    const outcome = await engine.api.call(method, params, { text: JSON.stringify(params) });
    await settle();
    return outcome.ok ? JSON.parse(outcome.json) : outcome.code;
  };

  test('[SS9] [SS19] given connections on two gateways, when a back end subscribes their user, then all receive the push and the result has their number', async () => {
    const broker = createMemoryBroker();
    const [one, two] = [engineUnderTest({ ...KEPT, broker }), engineUnderTest({ ...KEPT, broker })];
    const [ann, ann2, bob] = [await one.connected('ann'), await two.connected('ann'), await two.connected('bob')];
    await bob.say({ id: 2, publish: { channel: '$vip', data: 0 } });
    const answer = await call(one.engine, 'subscribe', { user: 'ann', channel: '$vip', data: { hello: 1 } });
    expect(answer).toEqual({ clients: 2, gateways: 2 });
    for (const { wire } of [ann, ann2]) {
      const subscribe = {
        recoverable: true,
        positioned: true,
        epoch: expect.any(String),
        data: { hello: 1 },
      };
      expect(wire.take()).toEqual([{ push: { channel: '$vip', subscribe } }]);
    }
    expect(await call(two.engine, 'subscribe', { user: 'ann', channel: '$vip' })).toEqual({
      clients: 0,
      gateways: 2,
    });
    await call(one.engine, 'publish', { channel: '$vip', data: 1 });
    for (const { wire } of [ann, ann2]) expect(wire.take()).toMatchObject([{ push: { pub: { data: 1 } } }]);
    expect(bob.wire.take()).toEqual([]);
    expect(await call(two.engine, 'unsubscribe', { user: 'ann', channel: '$vip' })).toEqual({
      clients: 2,
      gateways: 2,
    });
    for (const { wire } of [ann, ann2]) expect(wire.take()).toMatchObject([{ push: { unsubscribe: { code: 2000 } } }]);
    expect(await call(one.engine, 'subscribe', { channel: '$vip' })).toBe(107);
  });

  test('[SS20] given `recover_since`, when a back end subscribes a client, then missed publications follow the push', async () => {
    const { engine, connected } = engineUnderTest(KEPT);
    const ann = await connected('ann');
    for (const data of [1, 2, 3]) await call(engine, 'publish', { channel: 'news', data });
    const { epoch } = await call(engine, 'history', { channel: 'news' });
    await call(engine, 'subscribe', { user: 'ann', channel: 'news', recover_since: { offset: 1, epoch } });
    expect(ann.wire.take()).toMatchObject([
      { push: { channel: 'news', subscribe: { offset: 1, epoch } } },
      { push: { channel: 'news', pub: { data: 2, offset: 2 } } },
      { push: { channel: 'news', pub: { data: 3, offset: 3 } } },
    ]);
  });

  test('[SS10] [SS21] given open connections, when a back end calls `refresh`, then they are closed with 3005 at once or at the expiry', async () => {
    const { engine, connected, plain, pass } = engineUnderTest({
      limits: { pingIntervalMs: 1_000_000, pongTimeoutMs: 900_000 },
    });
    const [ann, bob, raw] = [await connected('ann'), await connected('bob'), await plain('room', 'bob')];
    expect(await call(engine, 'refresh', { user: 'ann', expired: true })).toEqual({
      clients: 1,
      gateways: 1,
    });
    expect(ann.wire.closed).toEqual({ code: 3005, reason: 'connection expired' });
    expect(await call(engine, 'refresh', { user: 'bob', expire_at: 1_010 })).toEqual({
      clients: 2,
      gateways: 1,
    });
    expect(bob.wire.take()).toEqual([{ push: { refresh: { expires: true, ttl: 10 } } }]);
    await pass(11_000);
    expect(raw.wire.closed?.code).toBe(3005);
    expect(bob.wire.closed).toBeUndefined();
    await call(engine, 'refresh', { user: 'bob' });
    await pass(60_000);
    expect(bob.wire.closed).toBeUndefined();
    await call(engine, 'refresh', { user: 'bob', expire_at: 1_080 });
    await pass(40_000);
    expect(bob.wire.closed?.code).toBe(3005);
    expect(await call(engine, 'refresh', {})).toBe(107);
  });

  test('[SS22] given a session with an expiry, when a back end calls `refresh` with a later `expire_at`, then the expiry stays in effect', async () => {
    const { engine, connected, authenticator, pass } = engineUnderTest({
      limits: { pingIntervalMs: 1_000_000, pongTimeoutMs: 900_000 },
    });
    authenticator.expiresAt = 1_060_000;
    const ann = await connected('ann');
    expect(await call(engine, 'refresh', { user: 'ann', expire_at: 9_000 })).toMatchObject({ clients: 1 });
    await pass(59_900);
    expect(ann.wire.closed).toBeUndefined();
    await pass(200);
    expect(ann.wire.closed?.code).toBe(4501);
  });

  test('[SS11] given an open connection, when a back end calls `send`, then the client receives the data outside of groups', async () => {
    const { engine, connected } = engineUnderTest();
    const [ann, bob] = [await connected('ann'), await connected('bob')];
    const data = { text: 'only for you' };
    expect(await call(engine, 'send', { client: ann.connection.id, data })).toEqual({
      clients: 1,
      gateways: 1,
    });
    expect(ann.wire.take()).toEqual([{ push: { message: { data } } }]);
    expect(bob.wire.take()).toEqual([]);
  });
});
