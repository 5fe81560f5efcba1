import { after, type Stop } from '@muster/kit/clock';
import type { RedisChannels } from '@muster/kit/redis/channels';
import type { Shards } from '@muster/kit/redis/cluster';
import { SLOTS, slotOf } from '@muster/kit/redis/cluster';
import { AppError } from '@muster/protocol/errors';
import type { Redis } from 'ioredis';
import { createSubscriber, type LinkSubscriber, type Subscriber, type SubscriberHandlers } from './redis-subscriber.ts';

export interface ShardedSubscriberDeps extends SubscriberHandlers {
  readonly shards: Shards;
  readonly channels: RedisChannels;
  /** Starts the liveness check of a connection to a node; disposed with it. */
  watch(link: Redis, node: string): Disposable;
}

/** The connection to one node of a cluster. */
interface Shard {
  readonly link: Redis;
  readonly subscriber: LinkSubscriber;
  readonly watcher: Disposable;
  /** Resolves when the connection is ready for the first time, or after {@link OPENING_MS}. */
  readonly opened: Promise<void>;
}

/** Time to wait for a new connection before subscriptions on it fail. */
const OPENING_MS = 2_000;
/** After a reconnect `onReconnected` waits for the other nodes, at most for this time. */
const RECONNECT_WAIT_MS = 1_000;
/** Minimum interval of slot refreshes: slots move by the thousand. */
const RENEW_MS = 250;

/** One connection to every node of a cluster; each channel is subscribed on the owner of its slot, and follows it. */
export const createShardedSubscriber = (deps: ShardedSubscriberDeps): Subscriber => {
  const { shards } = deps;
  const wanted = createChannelsBySlot();
  /** Owner of each slot at the last reassignment. */
  const owners: (string | undefined)[] = Array.from({ length: SLOTS });
  const nodes = createNodes(deps, wanted);

  /** Compares the owners of all slots, and moves the channels of slots that moved. */
  const reassign = (): void => {
    let isMoving = false;
    for (let slot = 0; slot < SLOTS; slot += 1) {
      const before = owners[slot];
      const now = shards.ownerOfSlot(slot);
      if (now === undefined || now === before) continue;
      owners[slot] = now;
      const { subscriber } = nodes.open(now);
      for (const channel of wanted.at(slot)) {
        if (before !== undefined) nodes.get(before)?.subscriber.drop(channel);
        subscriber.keep(channel);
        isMoving = true;
      }
    }
    if (isMoving) deps.onLost();
    nodes.closeExcept(new Set(owners));
  };
  const ownerOf = (channel: string): Shard | undefined => nodes.get(owners[slotOf(channel)] ?? '');
  const addTo = async (shard: Shard | undefined, channel: string): Promise<void> => {
    if (shard === undefined) throw new AppError('REDIS_UNAVAILABLE');
    await shard.opened;
    await shard.subscriber.add(channel);
  };
  const add = async (channel: string): Promise<void> => {
    const first = ownerOf(channel);
    try {
      await addTo(first, channel);
    } catch (error) {
      // The slot may have moved.
      await shards.refresh();
      const second = ownerOf(channel);
      if (second === first) throw error;
      await addTo(second, channel);
    }
  };
  const stopFollowing = shards.onRefresh(reassign);
  reassign();

  return {
    add: async (channel) => {
      wanted.add(channel);
      try {
        await add(channel);
      } catch (error) {
        wanted.delete(channel);
        throw error;
      }
    },
    keep: (channel) => {
      wanted.add(channel);
      ownerOf(channel)?.subscriber.keep(channel);
    },
    remove: (channel) => ownerOf(channel)?.subscriber.remove(channel),
    isUp: () => nodes.all().some(({ subscriber }) => subscriber.isUp()),
    has: (channel) => ownerOf(channel)?.subscriber.has(channel) ?? false,
    size: () => nodes.all().reduce((sum, { subscriber }) => sum + subscriber.size(), 0),
    close: () => {
      stopFollowing();
      nodes.closeExcept(new Set());
    },
  };
};

/** Subscribed channels by slot. */
const createChannelsBySlot = () => {
  const bySlot = new Map<number, Set<string>>();
  return {
    at: (slot: number): Iterable<string> => bySlot.get(slot) ?? [],
    add: (channel: string): void => {
      const slot = slotOf(channel);
      const known = bySlot.get(slot) ?? new Set();
      bySlot.set(slot, known.add(channel));
    },
    delete: (channel: string): void => {
      const slot = slotOf(channel);
      const known = bySlot.get(slot);
      known?.delete(channel);
      if (known?.size === 0) bySlot.delete(slot);
    },
  };
};

/** The connections to the nodes of the cluster. */
const createNodes = (deps: ShardedSubscriberDeps, wanted: ReturnType<typeof createChannelsBySlot>) => {
  const { shards } = deps;
  const nodes = new Map<string, Shard>();
  const renewing = new Map<string, Stop>();

  /** After MOVED: refreshes the slots, then subscribes the remaining channels of the node again. */
  const renew = (node: string): void => {
    if (renewing.has(node)) return;
    const run = async (): Promise<void> => {
      await shards.refresh();
      renewing.delete(node);
      nodes.get(node)?.subscriber.renew();
    };
    renewing.set(
      node,
      after(RENEW_MS, () => void run()),
    );
  };
  let waiting: Stop | undefined;
  const notify = (): void => {
    waiting?.();
    waiting = undefined;
    deps.onReconnected();
  };
  /** Reports an outage of the whole cluster once; a node that stays down delays it by {@link RECONNECT_WAIT_MS}. */
  const onNodeReconnected = (): void => {
    if ([...nodes.values()].every(({ subscriber }) => subscriber.isUp())) notify();
    else waiting ??= after(RECONNECT_WAIT_MS, notify);
  };
  const create = (node: string): Shard => {
    const link = shards.open('bus', node);
    // The subscriber subscribes again itself.
    link.options.autoResubscribe = false;
    const onUnsubscribed = (channel: string) => {
      wanted.delete(channel);
      deps.onUnsubscribed(channel);
    };
    const subscriber = createSubscriber(link, deps.channels, {
      ...deps,
      onUnsubscribed,
      onReconnected: onNodeReconnected,
    });
    // A replica may have replaced a failed node.
    link.on('moved', () => renew(node)).on('close', () => void shards.refresh());
    return { link, subscriber, watcher: deps.watch(link, node), opened: untilReady(link) };
  };
  const close = (node: string, { link, subscriber, watcher }: Shard): void => {
    nodes.delete(node);
    renewing.get(node)?.();
    renewing.delete(node);
    watcher[Symbol.dispose]();
    subscriber.close();
    shards.close(link);
  };
  return {
    get: (node: string): Shard | undefined => nodes.get(node),
    all: (): readonly Shard[] => [...nodes.values()],
    open: (node: string): Shard => {
      const known = nodes.get(node) ?? create(node);
      nodes.set(node, known);
      return known;
    },
    closeExcept: (needed: ReadonlySet<string | undefined>): void => {
      for (const [node, shard] of [...nodes]) if (!needed.has(node)) close(node, shard);
      if (nodes.size === 0) waiting?.();
    },
  };
};

const untilReady = (link: Redis): Promise<void> =>
  new Promise((resolve) => {
    const stop = after(OPENING_MS, resolve);
    link.once('ready', () => {
      stop();
      resolve();
    });
  });
