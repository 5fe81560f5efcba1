import type { GroupKey } from '@muster/bus/group-key';
import { createMemoryBroker } from '@muster/bus/memory-broker';
import { CloseCode, UnsubscribeCode } from '@muster/protocol/codes';
import type { GroupName } from '@muster/protocol/ids';
import { describe, expect, test } from 'vitest';
import { engineUnderTest, settle } from '../engine-fixture.ts';

const subscribe = (channel: string, id = 2) => ({ id, subscribe: { channel } });
const publish = (channel: string, data: unknown, id = 3) => ({ id, publish: { channel, data } });
const push = (channel: string, data: unknown, user: string, client: string) => ({
  push: { channel, pub: { data, info: { user, client } } },
});

const REFUSALS: [string, object[], number][] = [
  ['twice', [subscribe('a', 2), subscribe('a', 3)], 105],
  ['more groups than allowed', ['a', 'b', 'c', 'd', 'e'].map((name, id) => subscribe(name, id + 2)), 106],
  ['a name that is too long', [subscribe('x'.repeat(256))], 107],
  ['a name that is not ASCII', [subscribe('caf\u00e9')], 107],
  ['a private group', [subscribe('$vip')], 103],
  ["somebody's group", [subscribe('a#1')], 103],
  ['another kind of subscription', [{ id: 2, subscribe: { channel: 'a', type: 1 } }], 103],
  ['a malformed filter', [{ id: 2, subscribe: { channel: 'a', tf: { key: 'x' } } }], 107],
  ['publishing nothing', [{ id: 2, publish: { channel: 'a' } }], 107],
  ['publishing to a bad name', [publish('caf\u00e9', 1)], 107],
  ['publishing to a private group', [publish('$vip', 1)], 103],
];

describe('groups', () => {
  test('[GM1] [GM10] given members on two gateways, when a client publishes, then all members receive it and others nothing', async () => {
    const broker = createMemoryBroker();
    const [one, two] = [engineUnderTest({ broker }), engineUnderTest({ broker })];
    const [ann, bob, eve] = [await one.connected('ann'), await two.connected('bob'), await two.connected('ann')];
    await ann.say(subscribe('room'));
    await bob.say(subscribe('room'));
    await eve.say(subscribe('other'));
    const heard = await ann.say(publish('room', { text: 'hi' }));
    expect(heard).toEqual(
      expect.arrayContaining([push('room', { text: 'hi' }, 'ann', 'client-1'), { id: 3, publish: {} }]),
    );
    expect(bob.wire.take()).toEqual([push('room', { text: 'hi' }, 'ann', 'client-1')]);
    expect(eve.wire.take()).toEqual([]);
  });

  test('[GM2] given several publications of one client, when members receive them, then they are in order', async () => {
    const { connected } = engineUnderTest();
    const [ann, bob] = [await connected('ann'), await connected('bob')];
    await bob.say(subscribe('room'));
    const numbers = Array.from({ length: 100 }, (_, index) => index);
    await ann.say(...numbers.map((number) => publish('room', number, number + 10)));
    expect(bob.wire.take()).toEqual(numbers.map((number) => push('room', number, 'ann', 'client-1')));
  });

  test('[GM3] [GM11] given a client that unsubscribed, when a publication is made, then it is not received, and to unsubscribe again succeeds', async () => {
    const { connected } = engineUnderTest();
    const [ann, bob] = [await connected('ann'), await connected('bob')];
    await bob.say(subscribe('room'));
    expect(await bob.say({ id: 3, unsubscribe: { channel: 'room' } })).toEqual([{ id: 3, unsubscribe: {} }]);
    await ann.say(publish('room', 1));
    expect(bob.wire.take()).toEqual([]);
    expect(await bob.say({ id: 4, unsubscribe: { channel: 'room' } })).toEqual([{ id: 4, unsubscribe: {} }]);
  });

  test('[GM4] given commands about one group, when they are sent without waiting, then they are executed in order', async () => {
    const { connected } = engineUnderTest();
    const ann = await connected('ann');
    const replies = await ann.say(
      subscribe('room', 2),
      { id: 3, unsubscribe: { channel: 'room' } },
      subscribe('room', 4),
    );
    expect(replies).toEqual([
      { id: 2, subscribe: {} },
      { id: 3, unsubscribe: {} },
      { id: 4, subscribe: {} },
    ]);
    expect(await ann.say(publish('room', 1, 5))).toHaveLength(2);
  });

  test('[GM5] given publications in progress, when a client subscribes, then the reply precedes the first publication', async () => {
    const { connected } = engineUnderTest();
    const [ann, bob] = [await connected('ann'), await connected('bob')];
    await bob.say(subscribe('room'));
    bob.connection.onFrame(
      Array.from({ length: 20 }, (_, id) => JSON.stringify(publish('room', id, id + 9))).join('\n'),
    );
    const heard = await ann.say(subscribe('room'));
    expect(heard[0]).toEqual({ id: 2, subscribe: {} });
  });

  test.each(REFUSALS)(
    '[GM6] given %s, when the command is sent, then the reply is an error and the connection stays open',
    async (_, commands, code) => {
      const { connected } = engineUnderTest();
      const { say, wire } = await connected();
      const replies = await say(...commands);
      expect(replies).toContainEqual(expect.objectContaining({ error: expect.objectContaining({ code }) }));
      expect(wire.closed).toBeUndefined();
    },
  );

  test('[GM9] [GM12] given a full group, when a client subscribes, then the reply is error 106 until a member leaves', async () => {
    const { connected } = engineUnderTest({ groups: { maxMembers: 1 } });
    const [ann, bob] = [await connected('ann'), await connected('bob')];
    await ann.say(subscribe('room'));
    expect(await bob.say(subscribe('room'))).toMatchObject([{ error: { code: 106 } }]);
    await ann.say({ id: 3, unsubscribe: { channel: 'room' } });
    expect(await bob.say(subscribe('room'))).toMatchObject([{ subscribe: {} }]);
  });

  test('[GM7] given names such as __proto__, when clients use them, then they are ordinary groups', async () => {
    const { connected } = engineUnderTest();
    const ann = await connected('ann');
    for (const name of ['__proto__', 'constructor', 'toString']) {
      await ann.say(subscribe(name));
      expect(await ann.say(publish(name, 1))).toContainEqual(push(name, 1, 'ann', 'client-1'));
    }
  });

  test('[GM8] given a group, when its last local member leaves, then the gateway unsubscribes from its Redis channel', async () => {
    const { connected, engine } = engineUnderTest();
    const [ann, bob] = [await connected('ann'), await connected('bob')];
    await ann.say(subscribe('room'));
    await bob.say(subscribe('room'));
    expect(engine.counts()).toMatchObject({ groups: 1, subscriptions: 2 });
    await ann.say({ id: 3, unsubscribe: { channel: 'room' } });
    bob.connection.onClosed(1001);
    expect(engine.counts()).toMatchObject({ groups: 0, subscriptions: 0 });
  });

  test('[BU9] [GM13] [GM15] given an unreachable bus, when clients subscribe and publish, then the errors are temporary and sockets stay open', async () => {
    const { connected, broker } = engineUnderTest();
    const ann = await connected('ann');
    await ann.say(subscribe('room'));
    broker.stop();
    const error = { code: 100, message: 'internal server error', temporary: true };
    expect(await ann.say(subscribe('other', 5), publish('room', 1, 6))).toEqual(
      expect.arrayContaining([
        { id: 5, error },
        { id: 6, error },
      ]),
    );
    broker.start();
    expect(ann.wire.closed).toBeUndefined();
    expect(await ann.say(subscribe('other', 7))).toEqual([{ id: 7, subscribe: {} }]);
    expect(await ann.say(publish('room', 2, 8))).toHaveLength(2);
  });
});

describe('send buffer', () => {
  test('[OB2] given several replies in one turn, when they are written, then at most sixteen share a frame', async () => {
    const { connected } = engineUnderTest();
    const { say, wire } = await connected();
    wire.frames = 0;
    await say(...Array.from({ length: 20 }, (_, id) => ({ id: id + 2, unsubscribe: { channel: 'a' } })));
    expect(wire.frames).toBe(2);
  });

  test('[OB3] given a full send buffer, when a publication is written, then the client is closed with 3008 and others are served', async () => {
    const { connected, engine } = engineUnderTest({ limits: { maxSendBufferBytes: 1000 } });
    const [ann, slow, last] = [await connected('ann'), await connected('bob'), await connected('bob')];
    for (const { say } of [ann, slow, last]) await say(subscribe('room'));
    slow.wire.bufferedBytes = 990;
    await ann.say(publish('room', 'x'));
    expect(slow.wire.closed).toEqual({ code: 3008, reason: 'slow' });
    expect(last.wire.take()).toHaveLength(1);
    expect(engine.counts().subscriptions).toBe(2);
  });

  test('[OB4] given a large group, when a publication is delivered, then each present member receives it once', async () => {
    const { connected, metrics } = engineUnderTest();
    const ann = await connected('ann');
    const members = [];
    for (let count = 0; count < 1500; count++) {
      const member = await connected('bob');
      member.connection.onFrame(JSON.stringify(subscribe('room')));
      members.push(member);
    }
    await settle();
    for (const { wire } of members) wire.take();
    ann.connection.onFrame(
      [publish('room', 1, 9), publish('room', 2, 10)].map((one) => JSON.stringify(one)).join('\n'),
    );
    await Promise.resolve();
    await Promise.resolve();
    members[1499]?.connection.onClosed(1006);
    await settle();
    const heard = members.slice(0, 1499).map(({ wire }) => wire.take());
    expect(heard.every((one) => one.length === 2)).toBe(true);
    expect(heard[0]).toEqual([push('room', 1, 'ann', 'client-1'), push('room', 2, 'ann', 'client-1')]);
    expect(metrics.fanouts[0]).toBe(1500);
  });
});

test('[OB12] [OB17] given publications of one turn, when a client subscribes, then they are written together before, and it receives none of them', async () => {
  const { connected, plain } = engineUnderTest({ publishBatchWindowMs: 20 });
  const [ann, bob, eve] = [await connected('ann'), await connected('bob'), await connected('bob')];
  await bob.say(subscribe('room'));
  const simple = await plain('room', 'bob');
  bob.wire.frames = 0;
  await ann.say(...[1, 2, 3, 4].map((n) => publish('room', n, n + 10)));
  expect(bob.wire.take()).toEqual([1, 2, 3, 4].map((n) => push('room', n, 'ann', 'client-1')));
  expect(bob.wire.frames).toBe(1);
  expect(simple.wire.messages).toEqual(['1', '2', '3', '4']);
  ann.connection.onFrame([5, 6].map((n) => JSON.stringify(publish('room', n, n + 20))).join('\n'));
  expect(await eve.say(subscribe('room'))).toEqual([{ id: 2, subscribe: {} }]);
  expect(bob.wire.take()).toHaveLength(2);
  await settle();
  expect(eve.wire.take()).toEqual([]);
});

test('[OB18] given a publication in a batch, when members of either kind are closed or unsubscribed in the same turn, then they receive it before', async () => {
  const { connected, plain, engine, broker } = engineUnderTest({ publishBatchWindowMs: 20 });
  const [closed, ended] = [await connected('ann'), await connected('ann')];
  const bare = await plain('room', 'ann');
  for (const { say } of [closed, ended]) await say(subscribe('room'));
  const body = Buffer.from('{"push":{"channel":"room","pub":{"data":1}}}');
  const message = { body, dataAt: body.indexOf('1'), dataLength: 1, offset: 0, epoch: '', attributes: [] };
  const bus = broker.connect({ onMessage: () => {}, onReconnected: () => {} });
  await bus.publish('room' as GroupKey, { kind: 'publication', ...message });
  await Promise.resolve();
  expect(closed.wire.messages).toEqual([]);
  closed.connection.close(CloseCode.ForceDisconnect);
  bare.connection.close(CloseCode.ForceDisconnect);
  ended.connection.unsubscribe('room' as GroupName, UnsubscribeCode.Server);
  await settle();
  const publication = { push: { channel: 'room', pub: { data: 1 } } };
  expect(closed.wire.take()).toEqual([publication]);
  expect(bare.wire.messages).toEqual(['1']);
  expect(ended.wire.take()).toEqual([
    publication,
    expect.objectContaining({ push: expect.objectContaining({ unsubscribe: expect.anything() }) }),
  ]);
  expect(engine.counts()).toMatchObject({ subscriptions: 0, groups: 0 });
});

describe('the plain endpoint', () => {
  test('[PL1] given text frames, when a plain client sends them, then JSON is published as its value and other text as a string', async () => {
    const { plain, connected } = engineUnderTest();
    const ann = await connected('ann');
    await ann.say(subscribe('room'));
    const { connection, wire } = await plain('room', 'bob');
    for (const text of ['hello', '{"a": 1}', '42', '"quoted"', '{\n"b":2}']) connection.onFrame(text);
    await settle();
    expect(ann.wire.take().map((one) => (one as { push: { pub: { data: unknown } } }).push.pub.data)).toEqual([
      'hello',
      { a: 1 },
      42,
      'quoted',
      { b: 2 },
    ]);
    expect(wire.messages).toEqual(['hello', '{"a": 1}', '42', 'quoted', '{ "b":2}']);
  });

  test('[PL2] given publications of a protocol client, when a plain client receives them, then they are text frames', async () => {
    const { plain, connected } = engineUnderTest();
    const ann = await connected('ann');
    const { wire } = await plain('room', 'bob');
    await ann.say(publish('room', 'l\u00f6\nve'), publish('room', [1, { a: null }]));
    expect(wire.messages.join('\n')).toBe('l\u00f6\nve\n[1,{"a":null}]');
  });

  test('[PL3] given a heartbeat, when a plain client sends it, then it is answered and not published', async () => {
    const { plain, connected } = engineUnderTest();
    const ann = await connected('ann');
    await ann.say(subscribe('room'));
    const { connection, wire } = await plain('room', 'bob');
    connection.onFrame('{"type":"heartbeat"}');
    connection.onFrame(' { "type" : "heartbeat" } ');
    connection.onFrame('{"type":"heartbeat","bpm":70}');
    await settle();
    expect(wire.messages).toEqual(['{"type":"heartbeat"}', '{"type":"heartbeat"}', '{"type":"heartbeat","bpm":70}']);
    expect(ann.wire.take()).toHaveLength(1);
  });

  test('[PL4] [PL9] given a silent plain client, when idle connections are checked, then it is closed, and a client with any frame stays', async () => {
    const { plain, pass, engine } = engineUnderTest();
    const [silent, alive] = [await plain('room'), await plain('room')];
    await pass(100_000);
    alive.connection.onFrame('{"type":"heartbeat"}');
    engine.sweepPlain(120_000);
    expect(silent.wire.closed).toBeUndefined();
    await pass(30_000);
    engine.sweepPlain(120_000);
    expect(silent.wire.closed).toEqual({ code: 3012, reason: 'no heartbeat' });
    expect(alive.wire.closed).toBeUndefined();
  });

  test('[PL7] given a plain client that only answers pings, when time passes, then it stays open', async () => {
    const { plain, pass, engine } = engineUnderTest();
    const [listens, dead] = [await plain('room'), await plain('room')];
    for (let passed = 0; passed < 200_000; passed += 25_000) {
      await pass(25_000);
      listens.connection.onPong();
    }
    engine.sweepPlain(120_000);
    expect(listens.wire.closed).toBeUndefined();
    expect(dead.wire.closed).toEqual({ code: 3012, reason: 'no heartbeat' });
  });

  test('[PL5] given an unreachable bus, when a plain client sends text, then it receives an error message', async () => {
    const { plain, broker } = engineUnderTest();
    const { connection, wire } = await plain('room');
    broker.stop();
    connection.onFrame('hello');
    await settle();
    expect(wire.take()).toEqual([{ type: 'error', code: 100, message: 'internal server error' }]);
    expect(wire.closed).toBeUndefined();
  });

  test('[PL6] given a plain connection, when the client sends a binary frame, then it is closed with 3501', async () => {
    const { plain } = engineUnderTest();
    const { connection, wire } = await plain('room');
    connection.onFrame(Buffer.from('x'));
    expect(wire.closed?.code).toBe(3501);
  });
});
