import { type Case, holds, Skip, same } from '../case.ts';
import type { Peer } from '../peer.ts';

const text = (index: number): string => `żółć: a text of some length, so that a change of it is shorter, ${index}`;

const subscribed = async (peer: Peer, channel: string, more: object = {}) => {
  const { subscribe, error } = await peer.request({ subscribe: { channel, delta: 'fossil', ...more } });
  holds('a subscription', subscribe, error);
  if (!subscribe.delta) throw new Skip('deltas are disabled for this group');
  return subscribe;
};
const publish = async (peer: Peer, channel: string, count: number) => {
  for (let index = 1; index <= count; index++) {
    same('publish', (await peer.request({ publish: { channel, data: text(index) } })).publish, {});
  }
};

/** Size of a delta's target in bytes: the number before its first line break. */
const targetSize = (delta: string): number => {
  const digits = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz~';
  return [...delta.slice(0, delta.indexOf('\n'))].reduce((sum, digit) => sum * 64 + digits.indexOf(digit), 0);
};

/** Delta compression. */
export const deltaCases: readonly Case[] = [
  {
    kind: 'protocol',
    rules: ['DL1', 'DL3'],
    title: 'the first publication is a full payload, the next are deltas or full payloads, all of them strings',
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
        if (!delta) same('a full payload', data, whole);
        else same('size of the target of a delta', targetSize(data), Buffer.byteLength(whole));
      }
    },
  },
  {
    kind: 'protocol',
    rules: ['DL4', 'DL5'],
    title: 'a later subscriber receives its first publication in full, and history contains no deltas',
    formats: ['json'],
    run: async ({ connect, group }) => {
      using first = await connect();
      using second = await connect();
      const room = group();
      await subscribed(first, room);
      await publish(first, room, 1);
      await subscribed(second, room);
      await publish(first, room, 1);
      const [publication] = await second.pushes(room, 'pub', 1);
      same('the first', [publication.data, publication.delta], [JSON.stringify(text(1)), undefined]);
      const { history } = await first.request({ history: { channel: room, limit: -1 } });
      if (!history) return;
      const kept = (history.publications as { data: unknown }[]).map(({ data }) => data);
      same('history', kept, [text(1), text(1)]);
    },
  },
];
