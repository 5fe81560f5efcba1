import type { Bus } from '@muster/bus/bus';
import type { BusMessage } from '@muster/bus/envelope';
import { type GroupKey, groupNameOf } from '@muster/bus/group-key';
import type { StreamRetention } from '@muster/bus/streams';
import type { Clock } from '@muster/kit/clock';
import { LocalGroup } from './group.ts';
import { type GapOutcome, StreamFollower } from './stream-follower.ts';
import type { Subscription } from './subscription.ts';

/** The groups that somebody here is in, or is about to be. Counted: the last one to let go gives the group back to the bus. */
export interface GroupRegistry {
  get(key: GroupKey): LocalGroup | undefined;
  all(): Iterable<LocalGroup>;
  size(): number;
  /** The group, opened if need be, with one more hold. Resolves when it is heard. Rejects, and holds nothing, when it cannot be. */
  hold(key: GroupKey, retention: StreamRetention | undefined): Promise<LocalGroup>;
  release(group: LocalGroup): void;
}

export interface GroupRegistryDeps {
  readonly bus: Omit<Bus, keyof AsyncDisposable>;
  readonly clock: Clock;
  /** Bytes of publications that are read at once for one answer. */
  readonly maxReadBytes: number;
  /** Resolves when the members of a group can take more. */
  pace(group: LocalGroup): Promise<void>;
  deliver(group: LocalGroup, message: BusMessage): void;
  onGap(outcome: GapOutcome): void;
  onFault(error: unknown): void;
  /** The stream of a group could not be read. */
  onStalled(): void;
  /** A member has fallen behind and is skipped. */
  onLag(subscription: Subscription): void;
}

/** Bytes of recent publications that all groups together keep at hand. */
const RING_BYTES = 67_108_864;

export const createGroupRegistry = (deps: GroupRegistryDeps): GroupRegistry => {
  const { bus, clock, deliver, onGap, onFault, onStalled, onLag } = deps;
  const groups = new Map<GroupKey, LocalGroup>();
  let lastId = 0;
  const followerDeps = {
    streams: bus,
    budget: { maxBytes: RING_BYTES, usedBytes: 0 },
    ...{ clock, maxReadBytes: deps.maxReadBytes, onGap, onFault, onStalled },
    pace: async (key: GroupKey) => {
      const group = groups.get(key);
      if (group !== undefined) await deps.pace(group);
    },
    deliver: (key: GroupKey, message: BusMessage) => {
      const group = groups.get(key);
      if (group !== undefined) deliver(group, message);
    },
    resync: (key: GroupKey) => {
      for (const { member } of groups.get(key)?.positioned() ?? [])
        member.onInsufficientState(groupNameOf(key));
    },
  };
  const open = (key: GroupKey, retention: StreamRetention | undefined): LocalGroup => {
    const follower = retention && new StreamFollower(key, retention, followerDeps);
    const ready = bus.subscribe(key).then(() => follower?.open());
    lastId += 1;
    const group = new LocalGroup(key, lastId, { ready, follower, onLag });
    groups.set(key, group);
    return group;
  };
  const close = (group: LocalGroup): void => {
    if (groups.get(group.key) !== group) return;
    groups.delete(group.key);
    group.follower?.close();
    bus.unsubscribe(group.key);
  };

  return {
    get: (key) => groups.get(key),
    all: () => groups.values(),
    size: () => groups.size,
    hold: async (key, retention) => {
      const group = groups.get(key) ?? open(key, retention);
      group.holds += 1;
      if (retention !== undefined) group.follower?.retain(retention);
      try {
        await group.ready;
      } catch (error) {
        // The next one to come tries anew.
        close(group);
        throw error;
      }
      return group;
    },
    release: (group) => {
      group.holds -= 1;
      if (group.holds === 0) close(group);
    },
  };
};
