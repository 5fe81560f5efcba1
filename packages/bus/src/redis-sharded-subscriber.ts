import { after, type Stop } from '@muster/kit/clock';
import type { RedisChannels } from '@muster/kit/redis/channels';
import type { Shards } from '@muster/kit/redis/cluster';
import { SLOTS, slotOf } from '@muster/kit/redis/cluster';
import { AppError } from '@muster/protocol/errors';
import type { Redis } from 'ioredis';
import {
  createSubscriber,
  type LinkSubscriber,
  type Subscriber,
  type SubscriberHandlers,
} from './redis-subscriber.ts';

export interface ShardedSubscriberDeps extends SubscriberHandlers {
  readonly shards: Shards;
  readonly channels: RedisChannels;
  /** Watches over a link to a node; disposed with it. */
  watch(link: Redis, node: string): Disposable;
}

/** The link to one node of a cluster. */
interface Shard {
  readonly link: Redis;
  readonly subscriber: LinkSubscriber;
  readonly watcher: Disposable;
  /** Settles when the link is usable for the first time, or has had its chance. */
  readonly opened: Promise<void>;
}

/** A new link has so long to come up before subscriptions on it are refused. */
const OPENING_MS = 2_000;
/** After one link came back the owner is told when all have, or after this time. */
const TELL_MS = 1_000;
/** Slots move by the thousand: the cluster is asked again at most this often. */
const RENEW_MS = 250;

/** One link to every node of a cluster; each channel is listened to where its slot is, also after that has moved. */
export const createShardedSubscriber = (deps: ShardedSubscriberDeps): Subscriber => {
  const { shards } = deps;
  const places = createPlaces();
  /** Owner of each slot, as far as channels have been placed by it. */
  const owners: (string | undefined)[] = Array.from({ length: SLOTS });
  const nodes = createNodes(deps, places);

  /** Compares the cluster with what it was, and moves channels after their slots. */
  const place = (): void => {
    let isMoving = false;
    for (let slot = 0; slot < SLOTS; slot += 1) {
      const before = owners[slot];
      const now = shards.ownerOfSlot(slot);
      if (now === undefined || now === before) continue;
      owners[slot] = now;
      const { subscriber } = nodes.open(now);
      for (const channel of places.at(slot)) {
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
      // Its slot may have moved since.
      await shards.refresh();
      const second = ownerOf(channel);
      if (second === first) throw error;
      await addTo(second, channel);
    }
  };
  const stopFollowing = shards.onRefresh(place);
  place();

  return {
    add: async (channel) => {
      places.remember(channel);
      try {
        await add(channel);
      } catch (error) {
        places.forget(channel);
        throw error;
      }
    },
    keep: (channel) => {
      places.remember(channel);
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

/** The channels that are wanted, by slot. */
const createPlaces = () => {
  const bySlot = new Map<number, Set<string>>();
  return {
    at: (slot: number): Iterable<string> => bySlot.get(slot) ?? [],
    remember: (channel: string): void => {
      const slot = slotOf(channel);
      const known = bySlot.get(slot) ?? new Set();
      bySlot.set(slot, known.add(channel));
    },
    forget: (channel: string): void => {
      const slot = slotOf(channel);
      const known = bySlot.get(slot);
      known?.delete(channel);
      if (known?.size === 0) bySlot.delete(slot);
    },
  };
};

/** The links to the nodes of the cluster. */
const createNodes = (deps: ShardedSubscriberDeps, places: ReturnType<typeof createPlaces>) => {
  const { shards } = deps;
  const nodes = new Map<string, Shard>();
  const renewing = new Map<string, Stop>();

  /** Slots have left a node, or it says so: asks who has them now, and says again what is still wanted of it. */
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
  let telling: Stop | undefined;
  const tellNow = (): void => {
    telling?.();
    telling = undefined;
    deps.onReconnected();
  };
  /** An outage of the whole cluster is one outage; a node that stays away does not keep the news of the others. */
  const tell = (): void => {
    if ([...nodes.values()].every(({ subscriber }) => subscriber.isUp())) tellNow();
    else telling ??= after(TELL_MS, tellNow);
  };
  const create = (node: string): Shard => {
    const link = shards.open('bus', node);
    // The subscriber does that by itself.
    link.options.autoResubscribe = false;
    const onForgotten = (channel: string) => {
      places.forget(channel);
      deps.onForgotten(channel);
    };
    const subscriber = createSubscriber(link, deps.channels, { ...deps, onForgotten, onReconnected: tell });
    // A node that is gone for good has a successor.
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
      if (nodes.size === 0) telling?.();
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
