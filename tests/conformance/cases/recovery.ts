import { type Case, type ConformanceContext, holds, Skip, same } from '../case.ts';
import type { Peer } from '../peer.ts';

const publish = async (peer: Peer, channel: string, data: unknown) =>
  same('publish', (await peer.ask({ publish: { channel, data } })).publish, {});

/** A member of a fresh group that keeps publications, and its position. */
const kept = async (world: ConformanceContext, peer: Peer) => {
  const channel = world.group();
  const { subscribe, error } = await peer.ask({ subscribe: { channel } });
  holds('a subscription', subscribe, error);
  if (!subscribe.recoverable) throw new Skip('groups keep no publications here');
  return { channel, epoch: subscribe.epoch as string };
};

const numbers = (publications: readonly { data: unknown }[] = []) => publications.map(({ data }) => data);

/** Streams, recovery, history and presence. */
export const keeping: readonly Case[] = [
  {
    kind: 'protocol',
    rules: ['RP2'],
    title: 'publications are numbered from 1, and a subscribe tells the position',
    run: async (world) => {
      using peer = await world.connect();
      const { channel, epoch } = await kept(world, peer);
      for (const n of [1, 2, 3]) await publish(peer, channel, n);
      const pubs = await peer.pushes(channel, 'pub', 3);
      same(
        'offsets',
        pubs.map(({ offset }) => offset),
        [1, 2, 3],
      );
      using other = await world.connect();
      const { subscribe } = await other.ask({ subscribe: { channel } });
      same('position', [subscribe.offset, subscribe.epoch], [3, epoch]);
    },
  },
  {
    kind: 'protocol',
    rules: ['RP1'],
    title: 'who comes back with a position gets what was missed',
    run: async (world) => {
      using peer = await world.connect();
      const { channel, epoch } = await kept(world, peer);
      for (const n of [1, 2, 3, 4]) await publish(peer, channel, n);
      using other = await world.connect();
      const { subscribe } = await other.ask({
        subscribe: { channel, recover: true, offset: 2, epoch },
      });
      same('recovery', [subscribe.was_recovering, subscribe.recovered], [true, true]);
      same('what was missed', numbers(subscribe.publications), [3, 4]);
      same('offset', subscribe.offset, 2);
      await publish(peer, channel, 5);
      const [next] = await other.pushes(channel, 'pub', 1);
      same('the next', [next.data, next.offset], [5, 5]);
    },
  },
  {
    kind: 'protocol',
    rules: ['RP4'],
    title: 'a position of another epoch is not recovered, and is error 112 for who wants to know',
    run: async (world) => {
      using peer = await world.connect();
      const { channel } = await kept(world, peer);
      await publish(peer, channel, 1);
      using other = await world.connect();
      const stale = { channel, recover: true, offset: 1, epoch: 'another' };
      same('error', (await other.ask({ subscribe: { ...stale, flag: 2 } })).error?.code, 112);
      const { subscribe } = await other.ask({ subscribe: stale });
      same('recovery', [subscribe.was_recovering, subscribe.recovered ?? false], [true, false]);
    },
  },
  {
    kind: 'protocol',
    rules: ['RP3'],
    title: 'history is read forwards, backwards, from a position, and position only',
    run: async (world) => {
      using peer = await world.connect();
      const { channel, epoch } = await kept(world, peer);
      for (const n of [1, 2, 3, 4]) await publish(peer, channel, n);
      const ask = async (params: object) => {
        const { history, error } = await peer.ask({ history: { channel, ...params } });
        if (error?.code === 103 || error?.code === 108) throw new Skip('clients may not read history here');
        holds('a history', history, error);
        return history;
      };
      const position = await ask({});
      same('position', [position.offset, position.epoch], [4, epoch]);
      same('nothing else', numbers(position.publications), []);
      same('all', numbers((await ask({ limit: -1 })).publications), [1, 2, 3, 4]);
      same('newest', numbers((await ask({ limit: 2, reverse: true })).publications), [4, 3]);
      same('since', numbers((await ask({ limit: 1, since: { offset: 2, epoch } })).publications), [3]);
    },
  },
  {
    kind: 'protocol',
    rules: ['RP4'],
    title: 'history of another epoch is error 112, backwards from nothing 107',
    run: async (world) => {
      using peer = await world.connect();
      const { channel, epoch } = await kept(world, peer);
      await publish(peer, channel, 1);
      const ask = async (params: object) =>
        (await peer.ask({ history: { channel, limit: 1, ...params } })).error?.code;
      const foreign = await ask({ since: { offset: 1, epoch: 'another' } });
      if (foreign === 103 || foreign === 108) throw new Skip('clients may not read history here');
      same('another epoch', foreign, 112);
      same('backwards from 0', await ask({ reverse: true, since: { offset: 0, epoch } }), 107);
    },
  },
  {
    kind: 'protocol',
    rules: ['RP3'],
    title: 'presence tells who is in a group, and counts them',
    run: async (world) => {
      using peer = await world.connect();
      using other = await world.connect();
      const channel = world.group();
      for (const one of [peer, other]) holds('in', (await one.ask({ subscribe: { channel } })).subscribe);
      const { presence, error } = await peer.ask({ presence: { channel } });
      if (error?.code === 103 || error?.code === 108) throw new Skip('no presence for clients here');
      const clients = [peer, other].map(({ messages }) => messages[0].connect.client);
      same('clients', Object.keys(presence.presence).sort(), clients.sort());
      const { presence_stats: stats } = await peer.ask({ presence_stats: { channel } });
      same('how many', stats, { num_clients: 2, num_users: 1 });
    },
  },
  {
    kind: 'protocol',
    rules: ['RP4'],
    title: 'a call of the application is answered, or told to be unknown',
    run: async ({ connect }) => {
      using peer = await connect();
      const { rpc, error } = await peer.ask({ rpc: { method: 'no-such-method', data: 1 } });
      holds('a result or an error', rpc || error?.code >= 100, error);
    },
  },
];
