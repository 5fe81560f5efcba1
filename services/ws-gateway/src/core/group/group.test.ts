import { createMemoryBroker } from '@muster/bus/memory-broker';
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
  test('[GM1] a publication reaches the members of its group on every replica, the publisher included', async () => {
    const broker = createMemoryBroker();
    const [one, two] = [engineUnderTest({ broker }), engineUnderTest({ broker })];
    const [ann, bob, eve] = [
      await one.connected('ann'),
      await two.connected('bob'),
      await two.connected('ann'),
    ];
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

  test('[GM2] publications of one client arrive in the order in which it sent them', async () => {
    const { connected } = engineUnderTest();
    const [ann, bob] = [await connected('ann'), await connected('bob')];
    await bob.say(subscribe('room'));
    const numbers = Array.from({ length: 100 }, (_, index) => index);
    await ann.say(...numbers.map((number) => publish('room', number, number + 10)));
    expect(bob.wire.take()).toEqual(numbers.map((number) => push('room', number, 'ann', 'client-1')));
  });

  test('[GM3] after unsubscribe nothing of the group is written', async () => {
    const { connected } = engineUnderTest();
    const [ann, bob] = [await connected('ann'), await connected('bob')];
    await bob.say(subscribe('room'));
    expect(await bob.say({ id: 3, unsubscribe: { channel: 'room' } })).toEqual([{ id: 3, unsubscribe: {} }]);
    await ann.say(publish('room', 1));
    expect(bob.wire.take()).toEqual([]);
    expect(await bob.say({ id: 4, unsubscribe: { channel: 'room' } })).toEqual([{ id: 4, unsubscribe: {} }]);
  });

  test('[GM4] subscribe, unsubscribe, subscribe without waiting ends subscribed', async () => {
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

  test('[GM5] the reply to subscribe comes before the first publication', async () => {
    const { connected } = engineUnderTest();
    const [ann, bob] = [await connected('ann'), await connected('bob')];
    await bob.say(subscribe('room'));
    bob.connection.onText(
      Array.from({ length: 20 }, (_, id) => JSON.stringify(publish('room', id, id + 9))).join('\n'),
    );
    const heard = await ann.say(subscribe('room'));
    expect(heard[0]).toEqual({ id: 2, subscribe: {} });
  });

  test.each(REFUSALS)(
    '[GM6] %s is refused by an error, and the connection goes on',
    async (_, commands, code) => {
      const { connected } = engineUnderTest();
      const { say, wire } = await connected();
      const replies = await say(...commands);
      expect(replies).toContainEqual(expect.objectContaining({ error: expect.objectContaining({ code }) }));
      expect(wire.closed).toBeUndefined();
    },
  );

  test('[GM9] a group that is full takes no more members, and takes them again when one leaves', async () => {
    const { connected } = engineUnderTest({ groups: { maxMembers: 1 } });
    const [ann, bob] = [await connected('ann'), await connected('bob')];
    await ann.say(subscribe('room'));
    expect(await bob.say(subscribe('room'))).toMatchObject([{ error: { code: 106 } }]);
    await ann.say({ id: 3, unsubscribe: { channel: 'room' } });
    expect(await bob.say(subscribe('room'))).toMatchObject([{ subscribe: {} }]);
  });

  test('[GM7] names like __proto__ are groups like any other', async () => {
    const { connected } = engineUnderTest();
    const ann = await connected('ann');
    for (const name of ['__proto__', 'constructor', 'toString']) {
      await ann.say(subscribe(name));
      expect(await ann.say(publish(name, 1))).toContainEqual(push(name, 1, 'ann', 'client-1'));
    }
  });

  test('[GM8] a group without members is given back to the bus', async () => {
    const { connected, engine } = engineUnderTest();
    const [ann, bob] = [await connected('ann'), await connected('bob')];
    await ann.say(subscribe('room'));
    await bob.say(subscribe('room'));
    expect(engine.counts()).toMatchObject({ groups: 1, subscriptions: 2 });
    await ann.say({ id: 3, unsubscribe: { channel: 'room' } });
    bob.connection.onClosed(1001);
    expect(engine.counts()).toMatchObject({ groups: 0, subscriptions: 0 });
  });

  test('[BU9] with the bus away subscribe and publish are temporary errors, and sockets stay', async () => {
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

describe('outbox', () => {
  test('[OB2] replies of one turn travel in one frame, at most sixteen together', async () => {
    const { connected } = engineUnderTest();
    const { say, wire } = await connected();
    wire.frames = 0;
    await say(...Array.from({ length: 20 }, (_, id) => ({ id: id + 2, unsubscribe: { channel: 'a' } })));
    expect(wire.frames).toBe(2);
  });

  test('[OB3] a client that does not read is closed with 3008, and nobody else notices', async () => {
    const { connected, engine } = engineUnderTest({ limits: { maxSendBufferBytes: 1000 } });
    const [ann, slow, last] = [await connected('ann'), await connected('bob'), await connected('bob')];
    for (const { say } of [ann, slow, last]) await say(subscribe('room'));
    slow.wire.bufferedBytes = 990;
    await ann.say(publish('room', 'x'));
    expect(slow.wire.closed).toEqual({ code: 3008, reason: 'slow' });
    expect(last.wire.take()).toHaveLength(1);
    expect(engine.counts().subscriptions).toBe(2);
  });

  test('[OB4] a large group is served in slices: every member once, none who left', async () => {
    const { connected, metrics } = engineUnderTest();
    const ann = await connected('ann');
    const members = [];
    for (let count = 0; count < 1500; count++) {
      const member = await connected('bob');
      member.connection.onText(JSON.stringify(subscribe('room')));
      members.push(member);
    }
    await settle();
    for (const { wire } of members) wire.take();
    ann.connection.onText(
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

test('[OB5] publications of a busy group are written together, the first at once, and a new member sees none of before', async () => {
  const { connected, plain } = engineUnderTest({ publishBatchWindowMs: 20 });
  const [ann, bob] = [await connected('ann'), await connected('bob')];
  await bob.say(subscribe('room'));
  const simple = await plain('room', 'bob');
  bob.wire.frames = 0;
  await ann.say(...[1, 2, 3, 4].map((n) => publish('room', n, n + 10)));
  expect(bob.wire.take()).toEqual([push('room', 1, 'ann', 'client-1')]);
  await new Promise((resolve) => setTimeout(resolve, 40));
  expect(bob.wire.take()).toEqual([2, 3, 4].map((n) => push('room', n, 'ann', 'client-1')));
  expect(bob.wire.frames).toBe(2);
  await ann.say(publish('room', 5, 20), publish('room', 6, 21));
  const eve = await connected('bob');
  expect(await eve.say(subscribe('room'))).toEqual([{ id: 2, subscribe: {} }]);
  expect(bob.wire.take()).toHaveLength(2);
  await new Promise((resolve) => setTimeout(resolve, 40));
  expect(eve.wire.take()).toEqual([]);
  expect(simple.wire.messages[0]).toBe('1');
});

describe('the plain endpoint', () => {
  test('[PL1] text is published as a JSON string, JSON as its value', async () => {
    const { plain, connected } = engineUnderTest();
    const ann = await connected('ann');
    await ann.say(subscribe('room'));
    const { connection, wire } = await plain('room', 'bob');
    for (const text of ['hello', '{"a": 1}', '42', '"quoted"', '{\n"b":2}']) connection.onText(text);
    await settle();
    expect(ann.wire.take().map((one) => (one as { push: { pub: { data: unknown } } }).push.pub.data)).toEqual(
      ['hello', { a: 1 }, 42, 'quoted', { b: 2 }],
    );
    expect(wire.messages).toEqual(['hello', '{"a": 1}', '42', 'quoted', '{ "b":2}']);
  });

  test('[PL2] a publication of a protocol client arrives as text', async () => {
    const { plain, connected } = engineUnderTest();
    const ann = await connected('ann');
    const { wire } = await plain('room', 'bob');
    await ann.say(publish('room', 'l\u00f6\nve'), publish('room', [1, { a: null }]));
    expect(wire.messages.join('\n')).toBe('l\u00f6\nve\n[1,{"a":null}]');
  });

  test('[PL3] a heartbeat is answered and never relayed', async () => {
    const { plain, connected } = engineUnderTest();
    const ann = await connected('ann');
    await ann.say(subscribe('room'));
    const { connection, wire } = await plain('room', 'bob');
    connection.onText('{"type":"heartbeat"}');
    connection.onText(' { "type" : "heartbeat" } ');
    connection.onText('{"type":"heartbeat","bpm":70}');
    await settle();
    expect(wire.messages).toEqual([
      '{"type":"heartbeat"}',
      '{"type":"heartbeat"}',
      '{"type":"heartbeat","bpm":70}',
    ]);
    expect(ann.wire.take()).toHaveLength(1);
  });

  test('[PL4] the sweep closes who has been silent for too long, any frame is a sign of life', async () => {
    const { plain, pass, engine } = engineUnderTest();
    const [silent, alive] = [await plain('room'), await plain('room')];
    await pass(100_000);
    alive.connection.onText('{"type":"heartbeat"}');
    engine.sweepPlain(120_000);
    expect(silent.wire.closed).toBeUndefined();
    await pass(30_000);
    engine.sweepPlain(120_000);
    expect(silent.wire.closed).toEqual({ code: 3012, reason: 'no heartbeat' });
    expect(alive.wire.closed).toBeUndefined();
  });

  test('[PL7] a client that says nothing gets a ping frame every interval, and its pongs keep it', async () => {
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

  test('[PL5] what could not be published is answered with an error', async () => {
    const { plain, broker } = engineUnderTest();
    const { connection, wire } = await plain('room');
    broker.stop();
    connection.onText('hello');
    await settle();
    expect(wire.take()).toEqual([{ type: 'error', code: 100, message: 'internal server error' }]);
    expect(wire.closed).toBeUndefined();
  });

  test('[PL6] a binary frame closes with 3501', async () => {
    const { plain } = engineUnderTest();
    const { connection, wire } = await plain('room');
    connection.onBinary();
    expect(wire.closed?.code).toBe(3501);
  });
});
