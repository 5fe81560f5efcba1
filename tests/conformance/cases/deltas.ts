import { type Case, holds, Skip, same } from '../case.ts';
import type { Peer } from '../peer.ts';

const text = (index: number): string =>
  `żółć: a text of some length, so that a change of it is shorter, ${index}`;

const subscribed = async (peer: Peer, channel: string, more: object = {}) => {
  const { subscribe, error } = await peer.ask({ subscribe: { channel, delta: 'fossil', ...more } });
  holds('a subscription', subscribe, error);
  if (!subscribe.delta) throw new Skip('groups have no deltas here');
  return subscribe;
};
const publish = async (peer: Peer, channel: string, count: number) => {
  for (let index = 1; index <= count; index++) {
    same('publish', (await peer.ask({ publish: { channel, data: text(index) } })).publish, {});
  }
};

/** The size of what a delta makes, in bytes: the number before its first line break. */
const targetSize = (delta: string): number => {
  const digits = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz~';
  return [...delta.slice(0, delta.indexOf('\n'))].reduce((sum, one) => sum * 64 + digits.indexOf(one), 0);
};

/** Publications as changes of the ones before. */
export const deltas: readonly Case[] = [
  {
    kind: 'protocol',
    rules: ['DL1', 'DL3'],
    title: 'the first publication is whole and a string, those after it may be deltas and are strings too',
    formats: ['json'],
    run: async ({ connect, group }) => {
      using peer = await connect();
      const room = group();
      await subscribed(peer, room);
      await publish(peer, room, 3);
      const [first, ...others] = await peer.pushes(room, 'pub', 3);
      same('the first', [first.data, first.delta], [JSON.stringify(text(1)), undefined]);
      for (const [index, { data, delta }] of others.entries()) {
        const whole = JSON.stringify(text(index + 2));
        if (!delta) same('a whole one', data, whole);
        else same('the size that a delta makes', targetSize(data), Buffer.byteLength(whole));
      }
    },
  },
  {
    kind: 'protocol',
    rules: ['DL4', 'DL5'],
    title: 'who comes later gets the first one whole, and history is never deltas',
    formats: ['json'],
    run: async ({ connect, group }) => {
      using one = await connect();
      using two = await connect();
      const room = group();
      await subscribed(one, room);
      await publish(one, room, 1);
      await subscribed(two, room);
      await publish(one, room, 1);
      const [first] = await two.pushes(room, 'pub', 1);
      same('the first', [first.data, first.delta], [JSON.stringify(text(1)), undefined]);
      const { history } = await one.ask({ history: { channel: room, limit: -1 } });
      if (!history) return;
      const kept = (history.publications as { data: unknown }[]).map(({ data }) => data);
      same('history', kept, [text(1), text(1)]);
    },
  },
];
