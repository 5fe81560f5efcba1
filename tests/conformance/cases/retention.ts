import { setTimeout as sleep } from 'node:timers/promises';
import { type Case, type ConformanceContext, holds, Skip, same } from '../case.ts';
import type { Peer } from '../peer.ts';

const POLL_MS = 100;
/** Servers remove expired publications every few seconds. */
const EXPIRY_TOLERANCE_MS = 5_000;

const retentionOf = ({ retention }: ConformanceContext) => {
  if (retention === undefined) throw new Skip('--retention is not set');
  return retention;
};

/** Subscribes to an unused group and publishes 1 to `count`. */
const createStream = async (context: ConformanceContext, peer: Peer, count: number) => {
  const channel = retentionOf(context).group();
  const { subscribe, error } = await peer.request({ subscribe: { channel } });
  holds('a subscription', subscribe, error);
  for (let n = 1; n <= count; n += 1) await publish(peer, channel, n);
  return { channel, epoch: subscribe.epoch as string };
};
const publish = async (peer: Peer, channel: string, data: number) =>
  same('publish', (await peer.request({ publish: { channel, data } })).publish, {});
const historyOf = async (peer: Peer, channel: string) => {
  const { history, error } = await peer.request({ history: { channel, limit: -1 } });
  holds('a history', history, error);
  return history;
};
const payloadsOf = (publications: readonly { data: unknown }[] = []) => publications.map(({ data }) => data);
const upTo = (last: number, count: number) => Array.from({ length: count }, (_, n) => last - count + 1 + n);

/** Result of a recovery from this offset. */
const recover = async (context: ConformanceContext, group: { channel: string; epoch: string }, offset: number) => {
  using peer = await context.connect();
  const { subscribe, error } = await peer.request({ subscribe: { ...group, recover: true, offset } });
  holds('a subscription', subscribe, error);
  return { recovered: subscribe.recovered ?? false, publications: payloadsOf(subscribe.publications) };
};

/** Size and lifetime of streams. */
export const retentionCases: readonly Case[] = [
  {
    kind: 'protocol',
    rules: ['RP3'],
    title: 'history keeps the newest publications up to its size, and offsets count all',
    run: async (context) => {
      const { size } = retentionOf(context);
      using peer = await context.connect();
      const group = await createStream(context, peer, size + 3);
      const history = await historyOf(peer, group.channel);
      same('publications', payloadsOf(history.publications), upTo(size + 3, size));
      same('position', [history.offset, history.epoch], [size + 3, group.epoch]);
    },
  },
  {
    kind: 'protocol',
    rules: ['RP1', 'RP4'],
    title: 'a position within the history is recovered, an earlier position is not',
    run: async (context) => {
      const { size } = retentionOf(context);
      using peer = await context.connect();
      const group = await createStream(context, peer, size + 3);
      same('oldest kept position', await recover(context, group, 3), {
        recovered: true,
        publications: upTo(size + 3, size),
      });
      same('an earlier position', (await recover(context, group, 1)).recovered, false);
    },
  },
  {
    kind: 'protocol',
    rules: ['RP3', 'RP4'],
    title: 'expired publications are removed, and the position stays',
    run: async (context) => {
      const { ttlMs } = retentionOf(context);
      using peer = await context.connect();
      const group = await createStream(context, peer, 2);
      const deadline = performance.now() + ttlMs + EXPIRY_TOLERANCE_MS;
      let history = await historyOf(peer, group.channel);
      while (payloadsOf(history.publications).length > 0) {
        holds('an empty history after its lifetime', performance.now() < deadline, payloadsOf(history.publications));
        await sleep(POLL_MS);
        history = await historyOf(peer, group.channel);
      }
      same('position', [history.offset, history.epoch], [2, group.epoch]);
      same('the newest position', await recover(context, group, 2), { recovered: true, publications: [] });
      same('an older position', (await recover(context, group, 1)).recovered, false);
    },
  },
  {
    kind: 'protocol',
    rules: ['RP3', 'RP4'],
    title: 'history_remove empties the history, and offsets continue',
    run: async (context) => {
      if (!context.api) throw new Skip('--server-key is not set');
      using peer = await context.connect();
      const group = await createStream(context, peer, 2);
      await context.api('history_remove', { channel: group.channel });
      const history = await historyOf(peer, group.channel);
      same('publications', payloadsOf(history.publications), []);
      same('an older position', (await recover(context, group, 1)).recovered, false);
      await publish(peer, group.channel, 3);
      const after = await historyOf(peer, group.channel);
      same('publications after the removal', payloadsOf(after.publications), [3]);
      same('position', [after.offset, after.epoch], [3, group.epoch]);
    },
  },
];
