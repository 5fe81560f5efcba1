import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { MessageWriter } from '@muster/protocol/protobuf-wire';
import { until } from '@muster/testkit/wait';
import fc from 'fast-check';
import { afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { openSocket, type RawClient, SERVER_KEY, useFleet } from './fixture.ts';

const JSON_PATH = '/connection/websocket';
const PROTOBUF_PATH = '/connection/websocket?format=protobuf';
const ODD_NAMES = ['__proto__', 'constructor', 'toString', 'hasOwnProperty', 'prototype', '__defineGetter__', 'then'];
let observer: RawClient;
let published = 0;
/** Sockets of the test that runs. */
const opened: RawClient[] = [];

const fleet = useFleet({ env: { MAX_COMMANDS_PER_S: '0', PING_INTERVAL_MS: '600000' }, user: 'u_fuzz' });
beforeAll(async () => {
  observer = await live();
  opened.length = 0;
  observer.send({ id: 2, subscribe: { channel: 'observer' } });
  await observer.reply(2);
});

/** The observer receives what is published before and after, in order, and nothing else. */
const publish = async () => {
  published += 1;
  const headers = { 'x-api-key': SERVER_KEY };
  const body = JSON.stringify({ channel: 'observer', data: published });
  const answer = await fetch(`${fleet.gateway.url}/api/publish`, { method: 'POST', headers, body });
  expect(answer.status).toBe(200);
};
beforeEach(publish);
afterEach(async () => {
  for (const { socket } of opened.splice(0)) socket.terminate();
  await publish();
  const received = () =>
    observer.frames.flatMap((frame) => frame.split('\n')).flatMap((text) => JSON.parse(text).push?.pub?.data ?? []);
  await until(() => received().length >= published, { what: 'the observer to hear all' });
  expect(received()).toEqual(Array.from({ length: published }, (_, index) => index + 1));
  expect(observer.socket.readyState).toBe(1);
  expect(fleet.gateway.log.lines.filter(({ level }) => level === 'error')).toEqual([]);
});

const live = async (path = JSON_PATH): Promise<RawClient> => {
  const client = await openSocket(fleet.gateway.wsUrl + path, { authorization: `Bearer ${fleet.token}` });
  opened.push(client);
  if (path === JSON_PATH) {
    client.send({ id: 1, connect: {} });
    await client.reply(1);
  } else {
    client.socket.send(command(1, 4, new MessageWriter()));
    await until(() => client.frames.length > 0, { what: 'the reply to connect' });
  }
  return client;
};

const command = (id: number, method: number, request: MessageWriter): Uint8Array =>
  new MessageWriter().number(1, id).message(method, request).delimited();

/** Sends frames, closes, and returns the close code. */
const endOf = async (client: RawClient, frames: readonly (string | Uint8Array)[]): Promise<number> => {
  for (const frame of frames) client.socket.send(frame);
  client.socket.close(1000);
  return (await client.closed).code;
};

const name = fc.oneof(fc.constantFrom(...ODD_NAMES, '', '$', '#', ':', 'x'.repeat(300)), fc.string({ maxLength: 12 }));

describe('Protobuf', () => {
  const writer = (channel: string, data: Uint8Array, number: number) =>
    new MessageWriter().text(1, channel).bytes(2, data).number(3, number).text(6, channel).number(7, number);
  const valid = fc
    .tuple(fc.nat(2 ** 32 - 1), fc.integer({ min: 2, max: 16 }), name, fc.uint8Array({ maxLength: 30 }), fc.nat(3))
    .map(([id, method, channel, data, number]) => command(id, method, writer(channel, data, number)));
  const broken = fc
    .tuple(
      fc.array(valid, { minLength: 1, maxLength: 3 }),
      fc.nat(200),
      fc.array(fc.tuple(fc.nat(200), fc.nat(255)), { maxLength: 4 }),
    )
    .map(([parts, end, changes]) => {
      const bytes = Buffer.concat(parts);
      for (const [at, value] of changes) if (at < bytes.length) bytes[at] = value;
      return bytes.subarray(0, Math.max(1, bytes.length - (end % 20)));
    });

  test('[FR9] given truncated, changed and random frames, when clients send them, then at most their own connection is closed', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.oneof(valid, broken, fc.uint8Array({ maxLength: 60 })), { maxLength: 6 }),
        async (frames) => {
          expect([1000, 3501, 3508]).toContain(await endOf(await live(PROTOBUF_PATH), frames));
        },
      ),
      { numRuns: 60 },
    );
  });

  test('[PB13] given every truncated frame, when a client sends it, then the connection is closed with 3501', async () => {
    const whole = command(9, 7, new MessageWriter().text(1, 'observer-not').bytes(2, Buffer.from('"data"')));
    for (let length = 1; length < whole.length; length += 3) {
      expect(await endOf(await live(PROTOBUF_PATH), [whole.subarray(0, length)])).toBe(3501);
    }
  });
});

describe('JSON', () => {
  const field = fc.oneof(
    name,
    fc.jsonValue({ maxDepth: 2 }),
    fc.constantFrom(0, -1, 1.5, 2 ** 32, 1e308, null, true, 'fossil'),
  );
  const request = fc.dictionary(
    fc.constantFrom(
      'channel',
      'data',
      'offset',
      'epoch',
      'recover',
      'limit',
      'since',
      'tf',
      'delta',
      'flag',
      'type',
      'token',
      'subs',
      ...ODD_NAMES,
    ),
    field,
  );
  const method = fc.constantFrom(
    ...[
      'connect',
      'subscribe',
      'unsubscribe',
      'publish',
      'presence',
      'presence_stats',
      'history',
      'rpc',
      'send',
      'refresh',
      'sub_refresh',
      'ping',
    ],
    ...ODD_NAMES,
  );
  const command = fc
    .tuple(fc.oneof(fc.nat(), field), method, request)
    .map(([id, which, body]) => `{"id":${JSON.stringify(id)},${JSON.stringify(which)}:${JSON.stringify(body)}}`);

  test('[FR9] given random commands with odd names and values, when clients send them, then at most their own connection is closed', async () => {
    const own = Reflect.ownKeys(Object.prototype);
    await fc.assert(
      fc.asyncProperty(fc.array(command, { minLength: 1, maxLength: 12 }), async (commands) => {
        expect([1000, 3500, 3501, 3508]).toContain(await endOf(await live(), [commands.join('\n')]));
      }),
      { numRuns: 60 },
    );
    expect(Reflect.ownKeys(Object.prototype)).toEqual(own);
  });

  test('[FR6] given names of inherited object properties, when clients use them, then they behave as any other name', async () => {
    const client = await live();
    let id = 10;
    const request = async (body: object) => {
      id += 1;
      client.send({ id, ...body });
      return client.reply(id);
    };
    for (const channel of ODD_NAMES) {
      expect(await request({ subscribe: { channel, flag: 1, delta: 'fossil' } })).toMatchObject({
        subscribe: { delta: true },
      });
      expect(await request({ publish: { channel, data: JSON.parse('{"__proto__":{"x":1}}') } })).toMatchObject({
        publish: {},
      });
      expect(await request({ presence_stats: { channel } })).toMatchObject({
        presence_stats: { num_clients: 1 },
      });
      const { history } = await request({ history: { channel, limit: 1, reverse: true } });
      expect(history.publications).toHaveLength(1);
    }
    const filter = { key: '__proto__', cmp: 'ex' };
    expect(await request({ subscribe: { channel: 'filtered', tf: filter } })).toMatchObject({
      subscribe: {},
    });
    const subs = `{${ODD_NAMES.map((odd) => `"${odd}":{"recover":true,"offset":1,"epoch":"x"}`).join(',')}}`;
    const other = await openSocket(fleet.gateway.wsUrl + JSON_PATH);
    other.send(`{"id":1,"connect":{"token":${JSON.stringify(fleet.token)},"subs":${subs}}}`);
    expect(Object.keys((await other.reply(1)).connect.subs)).toHaveLength(ODD_NAMES.length);
    for (const { socket } of [client, other]) socket.terminate();
  });

  test('[FR3] given ids beyond 32 bits, fractions and texts, when clients send them, then the connection is closed with 3501', async () => {
    for (const id of ['4294967296', '-1', '1.5', '1e308', '"1"', '[]', 'true']) {
      expect(await endOf(await live(), [`{"id":${id},"presence":{"channel":"a"}}`])).toBe(3501);
    }
    const client = await live();
    client.send({ id: 4_294_967_295, publish: { channel: 'a', data: 1 } });
    expect(await client.reply(4_294_967_295)).toHaveProperty('publish');
    client.socket.terminate();
  });

  test('[FR8] given JSON of any depth, when a client publishes it, then clients of both forms receive it', async () => {
    const depth = 20_000;
    const deep = `${'['.repeat(depth)}${']'.repeat(depth)}`;
    const [client, proto] = [await live(), await live(PROTOBUF_PATH)];
    client.send({ id: 2, subscribe: { channel: 'deep' } });
    await client.reply(2);
    const before = proto.frames.length;
    proto.socket.send(new MessageWriter().number(1, 2).message(5, new MessageWriter().text(1, 'deep')).delimited());
    await until(() => proto.frames.length > before, { what: 'the subscription' });
    client.send(`{"id":3,"publish":{"channel":"deep","data":${deep}}}`);
    expect(await client.reply(3)).toEqual({ id: 3, publish: {} });
    await until(() => client.frames.some((frame) => frame.includes(deep)), { what: 'the publication' });
    await until(() => proto.frames.some((frame) => frame.includes(deep)), { what: 'the publication' });
    expect(
      await endOf(client, [
        `{"id":4,"subscribe":{"channel":"deep2","tf":${'{"op":"not","nodes":['.repeat(2_000)}{}${']}'.repeat(2_000)}}}`,
      ]),
    ).toBe(1000);
    proto.socket.terminate();
  });

  test('[FR1] given a thousand commands in one frame, when a client sends it, then each is answered once and in order per group', async () => {
    const client = await live();
    const commands = Array.from({ length: 1_000 }, (_, index) => {
      const id = index + 2;
      if (index % 4 === 0) return { id, subscribe: { channel: `many-${index % 40}` } };
      if (index % 4 === 1) return { id, publish: { channel: `many-${(index - 1) % 40}`, data: index } };
      if (index % 4 === 2) return { id, publish: { channel: `many-${(index - 2) % 40}`, data: index } };
      return { id, unsubscribe: { channel: `many-${(index - 3) % 40}` } };
    });
    client.send(...commands);
    const ids = () => client.frames.flatMap((frame) => frame.split('\n')).flatMap((text) => JSON.parse(text).id ?? []);
    await until(() => ids().length === 1_001, { what: 'all replies', timeoutMs: 20_000 });
    expect(new Set(ids()).size).toBe(1_001);
    expect(client.frames.join('\n')).not.toContain('"error"');
    client.socket.terminate();
  });
});

test('[FR9] given clients that violated the protocol, when they have disconnected, then groups, connections and memory are as before', async () => {
  setFlagsFromString('--expose-gc');
  const collect: () => void = runInNewContext('gc');
  const settled = async () => {
    await until(async () => (await fleet.gateway.metric('gateway_connections')) === 1, {
      what: 'the observer alone',
    });
    await until(async () => (await fleet.gateway.metric('gateway_groups')) === 1, {
      what: 'its group alone',
    });
    expect(await fleet.gateway.metric('gateway_subscriptions')).toBe(1);
    // Groups are given back to the bus a second after their last member.
    await until(async () => (await fleet.gateway.metric('gateway_bus_subscriptions')) === 1, {
      what: 'one subscription',
    });
    collect();
    return process.memoryUsage().heapUsed;
  };
  const round = async (index: number) => {
    const clients = await Promise.all(Array.from({ length: 10 }, () => live()));
    for (const [at, client] of clients.entries()) {
      const commands = Array.from({ length: 100 }, (_, n) => ({
        id: n + 2,
        subscribe: { channel: `left-${index}-${at}-${n}`, delta: 'fossil', flag: 1 },
      }));
      client.send(...commands);
      client.send('x'.repeat(60_000));
    }
    for (const { closed } of clients) expect((await closed).code).toBe(3501);
  };
  await round(0);
  const before = await settled();
  for (let index = 1; index <= 3; index++) await round(index);
  const grown = (await settled()) - before;
  expect(grown).toBeLessThan(6_000_000);
});
