import type { Bus } from '@muster/bus/bus';
import type { BusMessage } from '@muster/bus/envelope';
import type { GroupKey } from '@muster/bus/group-key';
import type { StreamRetention } from '@muster/bus/streams';
import { type GroupContext, LocalGroup } from './group.ts';
import type { StreamFollower, StreamFollowerDeps } from './stream-follower.ts';

export interface GroupRegistryDeps extends Omit<GroupContext, 'follower'> {
  readonly bus: Omit<Bus, keyof AsyncDisposable>;
  readonly follower: Omit<StreamFollowerDeps, 'streams' | 'budget'>;
}

/** Bytes of the recent publications of all groups together. */
const RECENT_BYTES = 67_108_864;

/**
 * The groups with members on this gateway, and the delivery of their messages. Reference-counted: when the last local member
 * leaves, the gateway unsubscribes from the group's Redis channel.
 */
export const createGroupRegistry = ({ bus, follower, ...shared }: GroupRegistryDeps) => {
  const groups = new Map<GroupKey, LocalGroup>();
  const budget = { maxBytes: RECENT_BYTES, usedBytes: 0 };
  const context: GroupContext = { ...shared, follower: { ...follower, streams: bus, budget } };
  let lastId = 0;

  const open = (key: GroupKey, retention: StreamRetention | undefined): LocalGroup => {
    lastId += 1;
    const group = new LocalGroup({ key, id: lastId, retention }, bus.subscribe(key), context);
    groups.set(key, group);
    // The next subscriber opens it again.
    group.ready.catch(() => close(group));
    return group;
  };
  const close = (group: LocalGroup): void => {
    if (groups.get(group.key) !== group) return;
    groups.delete(group.key);
    group.follower?.close();
    bus.unsubscribe(group.key);
  };

  return {
    /** Delivers a message from the bus: the only look-up of the group on its way to the sockets. */
    onMessage: (key: GroupKey, message: BusMessage): void => {
      const group = groups.get(key);
      if (group === undefined) return;
      if (group.follower !== undefined && message.offset > 0) group.follower.receive(message);
      else if (message.kind !== 'clear') group.deliver(message);
    },
    get: (key: GroupKey): LocalGroup | undefined => groups.get(key),
    all: (): Iterable<LocalGroup> => groups.values(),
    /** Followers of the groups that retain publications. */
    *followers(): Iterable<StreamFollower> {
      for (const { follower } of groups.values()) if (follower !== undefined) yield follower;
    },
    size: (): number => groups.size,
    /** Adds a hold, and opens the group if necessary. Messages arrive once it is {@link LocalGroup.ready}. */
    hold: (key: GroupKey, retention: StreamRetention | undefined): LocalGroup => {
      const known = groups.get(key);
      if (retention !== undefined) known?.follower?.retain(retention);
      const group = known ?? open(key, retention);
      group.holds += 1;
      return group;
    },
    release: (group: LocalGroup): void => {
      group.holds -= 1;
      if (group.holds === 0) close(group);
    },
  };
};

export type GroupRegistry = ReturnType<typeof createGroupRegistry>;
