import { createMemoryBroker } from '@muster/bus/memory-broker';
import { until } from '@muster/testkit/wait';
import { describe, expect, test } from 'vitest';
import { engineUnderTest, settle } from '../engine-fixture.ts';

const connect = (token: string, id = 1) => ({ id, connect: { token } });

const VIOLATIONS: [string, object[], string][] = [
  ['any other command first', [{ id: 1, subscribe: { channel: 'a' } }], 'not_connected'],
  ['a pong nobody asked for', [connect('ann'), {}], 'unsolicited_pong'],
  ['id 0', [connect('ann'), { subscribe: { channel: 'a' } }], 'no_id'],
  ['an unknown method', [connect('ann'), { id: 2, dance: {} }], 'unknown_method'],
  ['a second connect', [connect('ann'), connect('ann', 2)], 'second_connect'],
  ['a group without a name', [connect('ann'), { id: 2, subscribe: {} }], 'no_group'],
  ['a publication to nowhere', [connect('ann'), { id: 2, publish: { data: 1 } }], 'no_group'],
  ['an unsubscribe from nowhere', [connect('ann'), { id: 2, unsubscribe: {} }], 'no_group'],
  ['an unknown delta', [connect('ann'), { id: 2, subscribe: { channel: 'a', delta: 'x' } }], 'unknown_delta'],
];

describe('connect', () => {
  test('[CN1] given a valid credential, when a client connects, then the result has its id, the gateway and the ping interval', async () => {
    const { client } = engineUnderTest();
    expect(await client().say(connect('ann'))).toEqual([
      {
        id: 1,
        connect: {
          client: 'client-1',
          version: 'muster 0.0.0',
          data: { gateway: 'gw-1', user: 'ann', session: 'ann' },
          ping: 25,
          pong: true,
        },
      },
    ]);
  });

  test('[CN2] given credentials in the upgrade and the command, when a client connects, then the token of the command is used', async () => {
    const { client } = engineUnderTest();
    const [reply] = await client('bob').say(connect('ann'));
    expect(reply).toMatchObject({ connect: { data: { user: 'ann' } } });
    const [other] = await client('bob').say({ id: 1, connect: {} });
    expect(other).toMatchObject({ connect: { data: { user: 'bob' } } });
  });

  test.each([
    ['forged', 3500, 'invalid token'],
    ['ended', 4501, 'session ended: logout'],
  ])(
    '[CN3] [CN9] given a credential that is %s, when a client connects, then it is closed with %i',
    async (token, code, reason) => {
      const { client } = engineUnderTest();
      const { wire, say } = client();
      await say(connect(token));
      expect(wire.closed).toEqual({ code, reason });
    },
  );

  test('[CN10] given no credential, when a client connects, then it is closed with 3501', async () => {
    const { client } = engineUnderTest();
    const { wire, say } = client();
    await say({ id: 1, connect: {} });
    expect(wire.closed?.code).toBe(3501);
  });

  test('[CN4] [CN11] given a session that cannot be checked, when a client connects, then the reply is error 100, and the next command closes', async () => {
    const { client } = engineUnderTest();
    const { wire, say } = client();
    expect(await say(connect('away'))).toEqual([
      { id: 1, error: { code: 100, message: 'internal server error', temporary: true } },
    ]);
    await say({ id: 2, subscribe: { channel: 'a' } });
    expect(wire.closed?.code).toBe(3501);
  });

  test('[CN5] given commands in one frame with connect, when it succeeds, then they are executed after it in order', async () => {
    const { client } = engineUnderTest();
    const replies = await client().say(
      connect('ann'),
      { id: 2, subscribe: { channel: 'a' } },
      { id: 3, publish: { channel: 'a', data: 'x' } },
    );
    expect(replies.map((reply) => Object.keys(reply as object)[1] ?? 'push')).toEqual([
      'connect',
      'subscribe',
      ...['push', 'publish'],
    ]);
  });

  test('[CN13] given commands in one frame with connect, when it fails, then they are not answered', async () => {
    const { client } = engineUnderTest();
    const { wire, say } = client();
    expect(await say(connect('forged'), { id: 2, subscribe: { channel: 'a' } })).toEqual([]);
    expect(wire.closed?.code).toBe(3500);
  });

  test('[CN6] given a client that sends no connect, when the timeout passes, then it is closed with 3502, not earlier', async () => {
    const { client, pass } = engineUnderTest();
    const { wire } = client();
    await pass(9_900);
    expect(wire.closed).toBeUndefined();
    await pass(300);
    expect(wire.closed).toEqual({ code: 3502, reason: 'stale' });
  });

  test('[CN8] given a slow credential check, when the timeout passes, then the connection is closed with 3004', async () => {
    const { client, authenticator, engine, pass } = engineUnderTest();
    const waiting = Promise.withResolvers<void>();
    authenticator.delay = waiting.promise;
    const { wire, say } = client();
    // The ping timeout has ended; the check has its whole time.
    await pass(9_000);
    await say(connect('ann'));
    await pass(9_900);
    expect(wire.closed).toBeUndefined();
    await pass(300);
    expect(wire.closed).toEqual({ code: 3004, reason: 'internal server error' });
    waiting.resolve();
    await settle();
    expect(wire.messages).toEqual([]);
    expect(authenticator.holders.get('ann')?.size).toBe(0);
    expect(engine.counts().connections).toBe(0);
  });

  test('[CN15] given groups that cannot be joined, when the timeout passes, then the connection is closed with 3004 and no membership remains', async () => {
    const broker = createMemoryBroker();
    const { newest } = broker.streams;
    const held = Promise.withResolvers<void>();
    broker.streams.newest = async (group, retention) => {
      await held.promise;
      return newest(group, retention);
    };
    const { client, engine, pass } = engineUnderTest({
      ...{ broker, personalGroups: '#' },
      groups: { retention: { size: 5, ttlMs: 60_000, metaTtlMs: 120_000 } },
    });
    const { wire, say } = client();
    await say(connect('ann'));
    await pass(10_200);
    expect(wire.closed?.code).toBe(3004);
    held.resolve();
    await settle();
    expect(engine.counts()).toMatchObject({ connections: 0, groups: 0, subscriptions: 0 });
  });

  test('[CN16] given a connect answered with an error, when the timeout passes again, then the connection is closed with 3502', async () => {
    const { client, authenticator, pass } = engineUnderTest();
    const waiting = Promise.withResolvers<void>();
    authenticator.delay = waiting.promise;
    const { wire, say } = client();
    await say(connect('away'));
    await pass(9_900);
    waiting.resolve();
    await settle();
    expect(wire.take()).toMatchObject([{ error: { code: 100, temporary: true } }]);
    await pass(9_900);
    expect(wire.closed).toBeUndefined();
    await pass(300);
    expect(wire.closed?.code).toBe(3502);
  });

  test('[CN14] given a suspended gateway, when it resumes, then the suspension does not count towards the timeout', async () => {
    const { client, jump, pass } = engineUnderTest();
    const { wire, say } = client();
    await jump(60_000);
    expect(wire.closed).toBeUndefined();
    // Commands that were sent meanwhile are read now.
    expect(await say(connect('ann'))).toMatchObject([{ connect: {} }]);
    const silent = client();
    await pass(10_200);
    expect(silent.wire.closed?.code).toBe(3502);
  });

  test('[GS1] given a session that is being checked, when it ends, then the connection is not accepted', async () => {
    const { client, authenticator, engine } = engineUnderTest();
    const waiting = Promise.withResolvers<void>();
    authenticator.delay = waiting.promise;
    const { wire, say } = client();
    await say(connect('ann'));
    authenticator.end('ann', 'logout');
    waiting.resolve();
    await settle();
    expect(wire.closed).toEqual({ code: 4501, reason: 'session ended: logout' });
    expect(wire.messages).toEqual([]);
    expect(authenticator.holders.get('ann')?.size).toBe(0);
    expect(engine.counts().connections).toBe(0);
  });
});

describe('sizes', () => {
  test('[FR11] [VL12] given a frame of several messages, when it is longer than one message may be, then it is handled, and a longer message closes with 1009', async () => {
    const { connected, metrics } = engineUnderTest({ limits: { maxMessageBytes: 1_000 } });
    const ann = await connected();
    const publish = (id: number, size: number) => ({
      id,
      publish: { channel: 'a', data: 'ż'.repeat(size / 2) },
    });
    expect(await ann.say(...[2, 3, 4].map((id) => publish(id, 900)))).toHaveLength(3);
    expect(await ann.say(publish(5, 100), publish(6, 1_000))).toEqual([]);
    expect(ann.wire.closed).toEqual({ code: 1009, reason: 'message too big' });
    expect(metrics.refusals).toEqual(['too_big']);
  });
});

describe('violations', () => {
  test.each(VIOLATIONS)(
    '[VL1] given %s, when the client sends it, then the connection is closed with 3501 and it is counted',
    async (_, commands, reason) => {
      const { client, metrics } = engineUnderTest();
      const { wire, say } = client();
      await say(...commands);
      expect(wire.closed).toEqual({ code: 3501, reason: 'bad request' });
      expect(metrics.refusals).toEqual([reason]);
    },
  );

  test.each(['', '{', '[]', '{"id":"x","connect":{}}'])(
    '[VL2] given the frame %j, when the client sends it, then the connection is closed with 3501',
    async (frame) => {
      const { connected } = engineUnderTest();
      const { wire, connection } = await connected();
      connection.onFrame(frame);
      expect(wire.closed?.code).toBe(3501);
    },
  );

  test('[VL2] [VL10] given a binary frame, when it has JSON, then it is handled, and other bytes close with 3501', async () => {
    const { connected } = engineUnderTest();
    const { wire, connection } = await connected();
    const publish = { id: 2, publish: { channel: 'a', data: 'żółć' } };
    connection.onFrame(Buffer.from(`${JSON.stringify(publish)}\n${JSON.stringify({ ...publish, id: 3 })}`));
    await settle();
    expect(wire.take()).toMatchObject([
      { id: 2, publish: {} },
      { id: 3, publish: {} },
    ]);
    connection.onFrame(Buffer.from([0x22, 0xff, 0x22]));
    expect(wire.closed?.code).toBe(3501);
  });

  test('[VL3] [VL11] [JT29] given methods that are not available, when a client sends them, then the reply is error 108, and send closes with 3508', async () => {
    const { connected } = engineUnderTest();
    const { wire, say } = await connected();
    for (const method of ['rpc', 'refresh']) {
      expect(await say({ id: 7, [method]: { channel: 'a' } })).toEqual([
        { id: 7, error: { code: 108, message: 'not available' } },
      ]);
    }
    await say({ send: { data: 1 } });
    expect(wire.closed).toEqual({ code: 3508, reason: 'not available' });
  });

  test('[VL4] given commands faster than they are served, when they are pending, then the socket is paused and all are answered', async () => {
    const { client, authenticator } = engineUnderTest();
    const waiting = Promise.withResolvers<void>();
    authenticator.delay = waiting.promise;
    const { wire, say } = client();
    const burst = Array.from({ length: 400 }, (_, index) => ({
      id: index + 2,
      unsubscribe: { channel: 'a' },
    }));
    await say(connect('ann'), ...burst);
    expect(wire.isPaused).toBe(true);
    waiting.resolve();
    await until(() => wire.messages.length === 401, { what: 'all replies' });
    expect(wire.isPaused).toBe(false);
  });

  test('[VL6] given hundreds of commands at once, when another client sends a command, then at most 64 precede it', async () => {
    const { connected } = engineUnderTest();
    const [busy, other] = [await connected(), await connected()];
    const burst = Array.from({ length: 300 }, (_, index) => ({
      id: index + 2,
      unsubscribe: { channel: 'a' },
    }));
    busy.connection.onFrame(burst.map((command) => JSON.stringify(command)).join('\n'));
    other.connection.onFrame('{"id":2,"unsubscribe":{"channel":"a"}}');
    const answered = Promise.withResolvers<number>();
    other.wire.write = () => answered.resolve(busy.wire.messages.length);
    expect(await answered.promise).toBeLessThanOrEqual(64);
    await until(() => busy.wire.messages.length === 300, { what: 'all replies', intervalMs: 0 });
    expect(busy.wire.take().map((reply) => (reply as { id: number }).id)).toEqual(burst.map(({ id }) => id));
  });

  test('[VL7] given a member that publishes to its own group, when it reads slowly, then it is read more slowly, not closed', async () => {
    const { connected, pass } = engineUnderTest();
    const { wire, connection, say } = await connected();
    await say({ id: 2, subscribe: { channel: 'a' } });
    wire.isRead = false;
    const data = 'x'.repeat(60_000);
    for (let id = 3; id < 103; id += 1) connection.onFrame(JSON.stringify({ id, publish: { channel: 'a', data } }));
    const published = () => wire.messages.filter((text) => text.includes('"publish"')).length;
    for (let round = 0; round < 500 && published() < 100; round += 1) {
      wire.read(200_000);
      await pass(100);
    }
    expect(published()).toBe(100);
    expect(wire.closed).toBeUndefined();
  });
});

describe('ping and pong', () => {
  test('[HB1] given a new connection, when time passes, then the first ping follows after half to one interval, later pings every interval', async () => {
    const { connected, pass } = engineUnderTest();
    const { wire, connection } = await connected();
    await pass(18_600); // fraction 0.5 → three quarters of 25 s
    expect(wire.take()).toEqual([]);
    await pass(300);
    expect(wire.take()).toEqual([{}]);
    connection.onFrame('{}');
    await pass(24_700);
    expect(wire.take()).toEqual([]);
    await pass(500);
    expect(wire.take()).toEqual([{}]);
  });

  test('[HB2] given a ping, when no answer arrives, then the connection is closed with 3012', async () => {
    const { connected, pass } = engineUnderTest();
    const { wire } = await connected();
    await pass(18_900 + 7_800);
    expect(wire.closed).toBeUndefined();
    await pass(400);
    expect(wire.closed).toEqual({ code: 3012, reason: 'no pong' });
  });

  test('[HB4] given a client that answers pings, when time passes, then the connection stays open', async () => {
    const { connected, pass } = engineUnderTest();
    const { wire, connection } = await connected();
    for (let round = 0; round < 200; round++) {
      await pass(1000);
      if (wire.take().length > 0) connection.onFrame('{}');
    }
    expect(wire.closed).toBeUndefined();
  });
});

describe('sessions', () => {
  test('[GS2] given several sessions, when one ends, then exactly its connections are closed', async () => {
    const { connected, authenticator, plain } = engineUnderTest();
    const [one, two, other] = [await connected('ann'), await connected('ann'), await connected('bob')];
    const simple = await plain('a', 'ann');
    authenticator.end('ann', 'revoked');
    expect([one, two, simple].map(({ wire }) => wire.closed)).toEqual(
      Array(3).fill({ code: 4501, reason: 'session ended: revoked' }),
    );
    expect(other.wire.closed).toBeUndefined();
  });

  test('[GS3] given a session with an expiry, when it expires, then its connections are closed', async () => {
    const { connected, authenticator, pass, plain } = engineUnderTest();
    authenticator.expiresAt = 1_000_000 + 5_000;
    const [one, simple] = [await connected(), await plain('a')];
    await pass(4_900);
    expect([one.wire.closed, simple.wire.closed]).toEqual([undefined, undefined]);
    await pass(300);
    expect([one.wire.closed?.reason, simple.wire.closed?.reason]).toEqual(Array(2).fill('session ended: expired'));
  });

  test('[GS4] given a connection, when it closes, then no membership and no reference remains', async () => {
    const { connected, authenticator, engine } = engineUnderTest();
    const { connection, say } = await connected();
    await say({ id: 2, subscribe: { channel: 'a' } });
    connection.onClosed(1006);
    expect(authenticator.holders.get('ann')?.size).toBe(0);
    expect(engine.counts()).toEqual({ connections: 0, plain: 0, groups: 0, subscriptions: 0, lagging: 0 });
  });
});
