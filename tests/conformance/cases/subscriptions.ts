import {
  type Case,
  type ConformanceContext,
  closes,
  holds,
  type Kind,
  Skip,
  same,
  targetOf,
} from '../case.ts';
import type { Peer } from '../peer.ts';

const subscribed = async (peer: Peer, channel: string, more: object = {}) => {
  const { subscribe, error } = await peer.ask({ subscribe: { channel, ...more } });
  holds('a subscription', subscribe, error);
  return subscribe;
};
const publish = async (peer: Peer, channel: string, data: unknown) =>
  same('publish', (await peer.ask({ publish: { channel, data } })).publish, {});
const refused = (
  title: string,
  params: (world: ConformanceContext) => object,
  code: number,
  kind: Kind = 'protocol',
): Case => ({
  kind,
  rules: ['RP4'],
  title: `${title} is error ${code}`,
  run: async (world) => {
    using peer = await world.connect();
    same('error code', (await peer.ask(params(world))).error?.code, code);
  },
});
const closing = (title: string, params: (world: ConformanceContext) => object): Case => ({
  kind: 'protocol',
  rules: ['CD1'],
  title: `${title} closes with 3501`,
  run: async (world) => {
    using peer = await world.connect();
    peer.send({ id: 2, ...params(world) });
    await closes(peer, 3501);
  },
});

/** Groups and what is sent to them. */
export const subscribing: readonly Case[] = [
  {
    kind: 'protocol',
    rules: ['RP1'],
    title: 'all members get a publication, the publisher too, with who it is from',
    run: async ({ connect, group }) => {
      using one = await connect();
      using two = await connect();
      const room = group();
      await subscribed(one, room);
      await subscribed(two, room);
      await publish(one, room, { text: 'zażółć', n: 1 });
      for (const peer of [one, two]) {
        const [pub] = await peer.pushes(room, 'pub', 1);
        same('data', pub.data, { text: 'zażółć', n: 1 });
        same('client', pub.info.client, one.messages[0].connect.client);
        holds('a user', typeof pub.info.user === 'string');
      }
    },
  },
  {
    kind: 'protocol',
    rules: ['FR7'],
    title: 'numbers and members of a payload are passed on as they were written',
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
    title: 'a hundred publications come once and in order',
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
    title: 'subscribe, unsubscribe and subscribe in one frame are done in this order',
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
    title: 'after unsubscribe nothing of the group comes; leaving twice is a success',
    run: async ({ connect, group }) => {
      using peer = await connect();
      using other = await connect();
      const [room, mark] = [group(), group()];
      await subscribed(peer, room);
      await subscribed(peer, mark);
      same('leaving', (await peer.ask({ unsubscribe: { channel: room } })).unsubscribe, {});
      same('leaving again', (await peer.ask({ unsubscribe: { channel: room } })).unsubscribe, {});
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
      same('error code', (await peer.ask({ subscribe: { channel } })).error?.code, 105);
    },
  },
  refused('a name of 256 characters', () => ({ subscribe: { channel: 'x'.repeat(256) } }), 107),
  refused('a name that is not ASCII', () => ({ subscribe: { channel: 'café' } }), 107),
  refused(
    'a subscription of another kind',
    ({ group }) => ({ subscribe: { channel: group(), type: 1 } }),
    103,
  ),
  refused('a private group without leave', ({ group }) => ({ subscribe: { channel: `$${group()}` } }), 103),
  refused(
    'the personal group of somebody else',
    ({ group }) => ({ subscribe: { channel: `${group()}#somebody-else` } }),
    103,
  ),
  refused('publishing to no proper name', () => ({ publish: { channel: 'a\tb', data: 1 } }), 107, 'muster'),
  closing('subscribing to an empty name', () => ({ subscribe: { channel: '' } })),
  closing('publishing to an empty name', () => ({ publish: { channel: '', data: 1 } })),
  closing('an unknown kind of delta', ({ group }) => ({ subscribe: { channel: group(), delta: 'xdelta' } })),
  closing('leaving an empty name', () => ({ unsubscribe: { channel: '' } })),
  {
    kind: 'protocol',
    rules: ['FR6', 'FR9'],
    title: 'names such as __proto__ are names',
    run: async ({ connect }) => {
      using peer = await connect();
      for (const channel of ['__proto__', 'constructor', 'toString']) {
        const { error, subscribe } = await peer.ask({ subscribe: { channel } });
        holds('a subscription or a refusal', subscribe || error);
      }
    },
  },
  {
    kind: 'protocol',
    rules: ['CC1'],
    title: 'who takes a number for a group gets it in every push instead of the name',
    // In the binary form gateways give numbers only where they are told to.
    formats: ['json'],
    run: async ({ connect, group }) => {
      using peer = await connect();
      const room = group();
      const { id } = await subscribed(peer, room, { flag: 1 });
      if (id === undefined) throw new Skip('groups have no numbers here');
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
    title: 'the server puts a connection into a group, and it is told',
    run: async ({ connect, group, api, credential }) => {
      if (!api) throw new Skip('no key of the server API');
      using peer = await connect();
      const room = group();
      await api('subscribe', { ...targetOf({ credential }, peer), channel: room });
      await peer.pushes(room, 'subscribe', 1);
      await publish(peer, room, 1);
      await peer.pushes(room, 'pub', 1);
      same('subscribing again', (await peer.ask({ subscribe: { channel: room } })).error?.code, 105);
    },
  },
  {
    kind: 'protocol',
    rules: ['CD1'],
    title: 'the server ends a subscription with a push',
    run: async ({ connect, group, api, credential }) => {
      if (!api) throw new Skip('no key of the server API');
      using peer = await connect();
      const room = group();
      await subscribed(peer, room);
      await api('unsubscribe', { ...targetOf({ credential }, peer), channel: room });
      const [ending] = await peer.pushes(room, 'unsubscribe', 1);
      same('code', ending.code, 2000);
    },
  },
  {
    kind: 'protocol',
    rules: ['CD1'],
    title: 'the server ends a connection with a code and a reason',
    run: async ({ connect, api, credential }) => {
      if (!api) throw new Skip('no key of the server API');
      using peer = await connect();
      await api('disconnect', targetOf({ credential }, peer));
      await closes(peer, 3503);
    },
  },
];
