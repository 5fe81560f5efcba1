import { type Case, type ConformanceContext, holds, Skip, same } from '../case.ts';
import type { Peer } from '../peer.ts';

const publish = async (peer: Peer, channel: string, data: unknown) =>
  same('publish', (await peer.request({ publish: { channel, data } })).publish, {});

/** Subscribes to an unused group with history; returns its name and epoch. */
const subscribeRecoverable = async (context: ConformanceContext, peer: Peer) => {
  const channel = context.group();
  const { subscribe, error } = await peer.request({ subscribe: { channel } });
  holds('a subscription', subscribe, error);
  if (!subscribe.recoverable) throw new Skip('history is disabled for this group');
  return { channel, epoch: subscribe.epoch as string };
};

const payloadsOf = (publications: readonly { data: unknown }[] = []) => publications.map(({ data }) => data);

/** Streams, recovery, history and presence. */
export const recoveryCases: readonly Case[] = [
  {
    kind: 'protocol',
    rules: ['RP2'],
    title: 'offsets count from 1, and a subscribe returns the position',
    run: async (context) => {
      using peer = await context.connect();
      const { channel, epoch } = await subscribeRecoverable(context, peer);
      for (const n of [1, 2, 3]) await publish(peer, channel, n);
      const pubs = await peer.pushes(channel, 'pub', 3);
      same(
        'offsets',
        pubs.map(({ offset }) => offset),
        [1, 2, 3],
      );
      using other = await context.connect();
      const { subscribe } = await other.request({ subscribe: { channel } });
      same('position', [subscribe.offset, subscribe.epoch], [3, epoch]);
    },
  },
  {
    kind: 'protocol',
    rules: ['RP1'],
    title: 'a subscribe with a position returns the missed publications',
    run: async (context) => {
      using peer = await context.connect();
      const { channel, epoch } = await subscribeRecoverable(context, peer);
      for (const n of [1, 2, 3, 4]) await publish(peer, channel, n);
      using other = await context.connect();
      const { subscribe } = await other.request({
        subscribe: { channel, recover: true, offset: 2, epoch },
      });
      same('recovery', [subscribe.was_recovering, subscribe.recovered], [true, true]);
      same('missed publications', payloadsOf(subscribe.publications), [3, 4]);
      same('offset', subscribe.offset, 2);
      await publish(peer, channel, 5);
      const [next] = await other.pushes(channel, 'pub', 1);
      same('next publication', [next.data, next.offset], [5, 5]);
    },
  },
  {
    kind: 'protocol',
    rules: ['RP4'],
    title: 'a position of another epoch is not recovered, and is error 112 with flag bit 2',
    run: async (context) => {
      using peer = await context.connect();
      const { channel } = await subscribeRecoverable(context, peer);
      await publish(peer, channel, 1);
      using other = await context.connect();
      const stale = { channel, recover: true, offset: 1, epoch: 'another' };
      same('error', (await other.request({ subscribe: { ...stale, flag: 2 } })).error?.code, 112);
      const { subscribe } = await other.request({ subscribe: stale });
      same('recovery', [subscribe.was_recovering, subscribe.recovered ?? false], [true, false]);
    },
  },
  {
    kind: 'protocol',
    rules: ['RP3'],
    title: 'history returns publications forwards, in reverse, since a position, or the position only',
    run: async (context) => {
      using peer = await context.connect();
      const { channel, epoch } = await subscribeRecoverable(context, peer);
      for (const n of [1, 2, 3, 4]) await publish(peer, channel, n);
      const readHistory = async (params: object) => {
        const { history, error } = await peer.request({ history: { channel, ...params } });
        if (error?.code === 103 || error?.code === 108) throw new Skip('history is not available to clients');
        holds('a history', history, error);
        return history;
      };
      const position = await readHistory({});
      same('position', [position.offset, position.epoch], [4, epoch]);
      same('publications', payloadsOf(position.publications), []);
      same('all', payloadsOf((await readHistory({ limit: -1 })).publications), [1, 2, 3, 4]);
      same('newest', payloadsOf((await readHistory({ limit: 2, reverse: true })).publications), [4, 3]);
      same('since', payloadsOf((await readHistory({ limit: 1, since: { offset: 2, epoch } })).publications), [3]);
    },
  },
  {
    kind: 'protocol',
    rules: ['RP4'],
    title: 'history since another epoch is error 112, in reverse since offset 0 error 107',
    run: async (context) => {
      using peer = await context.connect();
      const { channel, epoch } = await subscribeRecoverable(context, peer);
      await publish(peer, channel, 1);
      const readHistory = async (params: object) =>
        (await peer.request({ history: { channel, limit: 1, ...params } })).error?.code;
      const otherEpoch = await readHistory({ since: { offset: 1, epoch: 'another' } });
      if (otherEpoch === 103 || otherEpoch === 108) throw new Skip('history is not available to clients');
      same('another epoch', otherEpoch, 112);
      same('in reverse since 0', await readHistory({ reverse: true, since: { offset: 0, epoch } }), 107);
    },
  },
  {
    kind: 'protocol',
    rules: ['RP3'],
    title: 'presence lists the clients of a group, and presence_stats counts them',
    run: async (context) => {
      using peer = await context.connect();
      using other = await context.connect();
      const channel = context.group();
      for (const each of [peer, other])
        holds('a subscription', (await each.request({ subscribe: { channel } })).subscribe);
      const { presence, error } = await peer.request({ presence: { channel } });
      if (error?.code === 103 || error?.code === 108) throw new Skip('presence is not available to clients');
      const clients = [peer, other].map(({ messages }) => messages[0].connect.client);
      same('clients', Object.keys(presence.presence).sort(), clients.sort());
      const { presence_stats: stats } = await peer.request({ presence_stats: { channel } });
      same('counts', stats, { num_clients: 2, num_users: 1 });
    },
  },
  {
    kind: 'protocol',
    rules: ['RP4'],
    title: 'an rpc is answered with a result or an error',
    run: async ({ connect }) => {
      using peer = await connect();
      const { rpc, error } = await peer.request({ rpc: { method: 'no-such-method', data: 1 } });
      holds('a result or an error', rpc || error?.code >= 100, error);
    },
  },
];
