import { type Case, type ConformanceContext, closes, holds, type Kind, Skip, same, targetOf } from '../case.ts';
import type { Peer } from '../peer.ts';

const subscribed = async (peer: Peer, channel: string, more: object = {}) => {
  const { subscribe, error } = await peer.request({ subscribe: { channel, ...more } });
  holds('a subscription', subscribe, error);
  return subscribe;
};
const publish = async (peer: Peer, channel: string, data: unknown) =>
  same('publish', (await peer.request({ publish: { channel, data } })).publish, {});
const rejectedWith = (
  title: string,
  params: (context: ConformanceContext) => object,
  code: number,
  kind: Kind = 'protocol',
): Case => ({
  kind,
  rules: ['RP4'],
  title: `${title} is error ${code}`,
  run: async (context) => {
    using peer = await context.connect();
    same('error code', (await peer.request(params(context))).error?.code, code);
  },
});
const closesWith3501 = (title: string, params: (context: ConformanceContext) => object): Case => ({
  kind: 'protocol',
  rules: ['CD1'],
  title: `${title} closes with 3501`,
  run: async (context) => {
    using peer = await context.connect();
    peer.send({ id: 2, ...params(context) });
    await closes(peer, 3501);
  },
});

/** Subscriptions, publications and the server API. */
export const subscriptionCases: readonly Case[] = [
  {
    kind: 'protocol',
    rules: ['RP1'],
    title: 'all subscribers receive a publication, the publisher included, with the info of the publisher',
    run: async ({ connect, group }) => {
      using first = await connect();
      using second = await connect();
      const room = group();
      await subscribed(first, room);
      await subscribed(second, room);
      await publish(first, room, { text: 'zażółć', n: 1 });
      for (const peer of [first, second]) {
        const [pub] = await peer.pushes(room, 'pub', 1);
        same('data', pub.data, { text: 'zażółć', n: 1 });
        same('client', pub.info.client, first.messages[0].connect.client);
        holds('a user', typeof pub.info.user === 'string');
      }
    },
  },
  {
    kind: 'protocol',
    rules: ['FR7'],
    title: 'numbers and the order of members of a payload are unchanged',
    formats: ['json'],
    run: async ({ connect, group }) => {
      using peer = await connect();
      const room = group();
      await subscribed(peer, room);
      const text = '{"big":12345678901234567890,"e":1.50,"b":1,"a":2}';
      peer.sendRaw(`{"id":7,"publish":{"channel":"${room}","data":${text}}}`);
      await peer.reply(7);
      const [pub] = await peer.pushes(room, 'pub', 1);
      same('order of members', Object.keys(pub.data), ['big', 'e', 'b', 'a']);
    },
  },
  {
    kind: 'protocol',
    rules: ['FR1'],
    title: 'a hundred publications arrive once and in order',
    run: async ({ connect, group }) => {
      using sender = await connect();
      using receiver = await connect();
      const room = group();
      await subscribed(receiver, room);
      for (let n = 0; n < 100; n += 1) sender.send({ id: n + 2, publish: { channel: room, data: n } });
      const pubs = await receiver.pushes(room, 'pub', 100);
      same(
        'the numbers',
        pubs.map(({ data }) => data),
        Array.from({ length: 100 }, (_, n) => n),
      );
    },
  },
  {
    kind: 'protocol',
    rules: ['FR1'],
    title: 'subscribe, unsubscribe and subscribe in one frame are handled in order',
    run: async ({ connect, group }) => {
      using peer = await connect();
      const channel = group();
      peer.send(
        { id: 2, subscribe: { channel } },
        { id: 3, unsubscribe: { channel } },
        { id: 4, subscribe: { channel } },
      );
      holds('the first', (await peer.reply(2)).subscribe);
      same('the second', await peer.reply(3), { id: 3, unsubscribe: {} });
      holds('the third', (await peer.reply(4)).subscribe);
      await publish(peer, channel, 1);
      await peer.pushes(channel, 'pub', 1);
    },
  },
  {
    kind: 'protocol',
    rules: ['RP1'],
    title: 'after unsubscribe no publication of the group is sent; a second unsubscribe succeeds',
    run: async ({ connect, group }) => {
      using peer = await connect();
      using other = await connect();
      const [room, mark] = [group(), group()];
      await subscribed(peer, room);
      await subscribed(peer, mark);
      same('unsubscribe', (await peer.request({ unsubscribe: { channel: room } })).unsubscribe, {});
      same('second unsubscribe', (await peer.request({ unsubscribe: { channel: room } })).unsubscribe, {});
      await publish(other, room, 1);
      await publish(other, mark, 2);
      await peer.pushes(mark, 'pub', 1);
      same('publications of the group', peer.messages.filter(({ push }) => push?.channel === room).length, 0);
    },
  },
  {
    kind: 'protocol',
    rules: ['RP4'],
    title: 'a second subscribe is error 105',
    run: async ({ connect, group }) => {
      using peer = await connect();
      const channel = group();
      await subscribed(peer, channel);
      same('error code', (await peer.request({ subscribe: { channel } })).error?.code, 105);
    },
  },
  rejectedWith('a name of 256 characters', () => ({ subscribe: { channel: 'x'.repeat(256) } }), 107),
  rejectedWith('a name that is not ASCII', () => ({ subscribe: { channel: 'café' } }), 107),
  rejectedWith('a subscription of an unknown type', ({ group }) => ({ subscribe: { channel: group(), type: 1 } }), 103),
  rejectedWith('a private group without permission', ({ group }) => ({ subscribe: { channel: `$${group()}` } }), 103),
  rejectedWith(
    'the personal group of another user',
    ({ group }) => ({ subscribe: { channel: `${group()}#another-user` } }),
    103,
  ),
  rejectedWith('publishing to an invalid name', () => ({ publish: { channel: 'a\tb', data: 1 } }), 107, 'muster'),
  closesWith3501('subscribing to an empty name', () => ({ subscribe: { channel: '' } })),
  closesWith3501('publishing to an empty name', () => ({ publish: { channel: '', data: 1 } })),
  closesWith3501('an unknown delta type', ({ group }) => ({
    subscribe: { channel: group(), delta: 'xdelta' },
  })),
  closesWith3501('unsubscribing from an empty name', () => ({ unsubscribe: { channel: '' } })),
  {
    kind: 'protocol',
    rules: ['FR6', 'FR9'],
    title: 'names such as __proto__ are ordinary names',
    run: async ({ connect }) => {
      using peer = await connect();
      for (const channel of ['__proto__', 'constructor', 'toString']) {
        const { error, subscribe } = await peer.request({ subscribe: { channel } });
        holds('a subscription or an error', subscribe || error);
      }
    },
  },
  {
    kind: 'protocol',
    rules: ['CC1'],
    title: 'with flag bit 1 every push carries the number of the group in place of its name',
    // Gateways assign numbers to Protobuf clients only where they are configured to.
    formats: ['json'],
    run: async ({ connect, group }) => {
      using peer = await connect();
      const room = group();
      const { id } = await subscribed(peer, room, { flag: 1 });
      if (id === undefined) throw new Skip('channel compaction is disabled for this group');
      holds('a number', Number.isInteger(id) && id > 0, id);
      await publish(peer, room, 'numbered');
      const mark = group();
      await subscribed(peer, mark);
      await publish(peer, mark, 'named');
      await peer.pushes(mark, 'pub', 1);
      const pushes = peer.messages.flatMap(({ push }) => (push?.pub?.data === 'numbered' ? [push] : []));
      same(
        'pushes',
        pushes.map((push) => [push.id, push.channel]),
        [[id, undefined]],
      );
    },
  },
  {
    kind: 'protocol',
    rules: ['CD1'],
    title: 'a server-side subscription is pushed to the client',
    run: async ({ connect, group, api, credential }) => {
      if (!api) throw new Skip('--server-key is not set');
      using peer = await connect();
      const room = group();
      await api('subscribe', { ...targetOf({ credential }, peer), channel: room });
      await peer.pushes(room, 'subscribe', 1);
      await publish(peer, room, 1);
      await peer.pushes(room, 'pub', 1);
      same('subscribing again', (await peer.request({ subscribe: { channel: room } })).error?.code, 105);
    },
  },
  {
    kind: 'protocol',
    rules: ['CD1'],
    title: 'a server-side unsubscribe is pushed to the client',
    run: async ({ connect, group, api, credential }) => {
      if (!api) throw new Skip('--server-key is not set');
      using peer = await connect();
      const room = group();
      await subscribed(peer, room);
      await api('unsubscribe', { ...targetOf({ credential }, peer), channel: room });
      const [push] = await peer.pushes(room, 'unsubscribe', 1);
      same('code', push.code, 2000);
    },
  },
  {
    kind: 'protocol',
    rules: ['CD1'],
    title: 'a server-side disconnect closes with a code and a reason',
    run: async ({ connect, api, credential }) => {
      if (!api) throw new Skip('--server-key is not set');
      using peer = await connect();
      await api('disconnect', targetOf({ credential }, peer));
      await closes(peer, 3503);
    },
  },
];
