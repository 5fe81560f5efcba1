import { setTimeout as sleep } from 'node:timers/promises';
import { type Case, type ConformanceContext, holds, Skip, same } from '../case.ts';
import type { Peer } from '../peer.ts';

const POLL_MS = 100;
/** Servers drop what is too old in turns of seconds. */
const LATE_MS = 5_000;

const retentionOf = ({ retention }: ConformanceContext) => {
  if (retention === undefined) throw new Skip('no namespace of --retention');
  return retention;
};

/** A member of a fresh group with publications from 1 to `count`. */
const filled = async (world: ConformanceContext, peer: Peer, count: number) => {
  const channel = retentionOf(world).group();
  const { subscribe, error } = await peer.ask({ subscribe: { channel } });
  holds('a subscription', subscribe, error);
  for (let n = 1; n <= count; n += 1) await publish(peer, channel, n);
  return { channel, epoch: subscribe.epoch as string };
};
const publish = async (peer: Peer, channel: string, data: number) =>
  same('publish', (await peer.ask({ publish: { channel, data } })).publish, {});
const historyOf = async (peer: Peer, channel: string) => {
  const { history, error } = await peer.ask({ history: { channel, limit: -1 } });
  holds('a history', history, error);
  return history;
};
const numbers = (publications: readonly { data: unknown }[] = []) => publications.map(({ data }) => data);
const upTo = (last: number, count: number) => Array.from({ length: count }, (_, n) => last - count + 1 + n);

/** What a client gets that comes back with this offset. */
const recover = async (
  world: ConformanceContext,
  group: { channel: string; epoch: string },
  offset: number,
) => {
  using peer = await world.connect();
  const { subscribe, error } = await peer.ask({ subscribe: { ...group, recover: true, offset } });
  holds('a subscription', subscribe, error);
  return { recovered: subscribe.recovered ?? false, publications: numbers(subscribe.publications) };
};

/** What is kept, how much and how long. */
export const retaining: readonly Case[] = [
  {
    kind: 'protocol',
    rules: ['RP3'],
    title: 'history keeps as many publications as its size, the newest, and the position counts all',
    run: async (world) => {
      const { size } = retentionOf(world);
      using peer = await world.connect();
      const group = await filled(world, peer, size + 3);
      const history = await historyOf(peer, group.channel);
      same('what is kept', numbers(history.publications), upTo(size + 3, size));
      same('position', [history.offset, history.epoch], [size + 3, group.epoch]);
    },
  },
  {
    kind: 'protocol',
    rules: ['RP1', 'RP4'],
    title: 'a position within what is kept is recovered, one before it is not',
    run: async (world) => {
      const { size } = retentionOf(world);
      using peer = await world.connect();
      const group = await filled(world, peer, size + 3);
      same('at the edge', await recover(world, group, 3), {
        recovered: true,
        publications: upTo(size + 3, size),
      });
      same('before it', (await recover(world, group, 1)).recovered, false);
    },
  },
  {
    kind: 'protocol',
    rules: ['RP3', 'RP4'],
    title: 'publications that are too old are gone, and the position stays',
    run: async (world) => {
      const { ttlMs } = retentionOf(world);
      using peer = await world.connect();
      const group = await filled(world, peer, 2);
      const deadline = performance.now() + ttlMs + LATE_MS;
      let history = await historyOf(peer, group.channel);
      while (numbers(history.publications).length > 0) {
        holds('an empty history after its time', performance.now() < deadline, numbers(history.publications));
        await sleep(POLL_MS);
        history = await historyOf(peer, group.channel);
      }
      same('position', [history.offset, history.epoch], [2, group.epoch]);
      same('the newest position', await recover(world, group, 2), { recovered: true, publications: [] });
      same('an older position', (await recover(world, group, 1)).recovered, false);
    },
  },
  {
    kind: 'protocol',
    rules: ['RP3', 'RP4'],
    title: 'a history that the server removes is empty, and its numbers go on',
    run: async (world) => {
      if (!world.api) throw new Skip('no key of the server API');
      using peer = await world.connect();
      const group = await filled(world, peer, 2);
      await world.api('history_remove', { channel: group.channel });
      const history = await historyOf(peer, group.channel);
      same('what is kept', numbers(history.publications), []);
      same('an older position', (await recover(world, group, 1)).recovered, false);
      await publish(peer, group.channel, 3);
      const after = await historyOf(peer, group.channel);
      same('what is kept then', numbers(after.publications), [3]);
      same('position', [after.offset, after.epoch], [3, group.epoch]);
    },
  },
];
