import type { Bus } from '@muster/bus/bus';
import type { BusMessage } from '@muster/bus/envelope';
import type { Retention } from '@muster/bus/streams';
import type { Clock } from '@muster/kit/clock';
import type { GroupName } from '@muster/protocol/ids';
import { Follower, type GapOutcome } from './follower.ts';
import { Group } from './group.ts';
import type { Subscription } from './subscription.ts';

/** The groups that somebody here is in, or is about to be. Counted: the last one to let go gives the group back to the bus. */
export interface GroupTable {
  get(name: GroupName): Group | undefined;
  all(): Iterable<Group>;
  size(): number;
  /** The group, opened if need be, with one more hold. Resolves when it is heard. Rejects, and holds nothing, when it cannot be. */
  hold(name: GroupName, retention: Retention | undefined): Promise<Group>;
  release(group: Group): void;
}

export interface GroupTableDeps {
  readonly bus: Omit<Bus, keyof AsyncDisposable>;
  readonly clock: Clock;
  /** Bytes of publications that are read at once for one answer. */
  readonly maxReadBytes: number;
  /** Resolves when the members of a group can take more. */
  pace(group: Group): Promise<void>;
  deliver(group: Group, message: BusMessage): void;
  onGap(outcome: GapOutcome): void;
  onFault(error: unknown): void;
  /** A member has fallen behind and is skipped. */
  onLag(subscription: Subscription): void;
}

/** Bytes of recent publications that all groups together keep at hand. */
const RING_BYTES = 67_108_864;

export const createGroupTable = (deps: GroupTableDeps): GroupTable => {
  const { bus, clock, deliver, onGap, onFault, onLag } = deps;
  const groups = new Map<GroupName, Group>();
  let lastId = 0;
  const followerDeps = {
    streams: bus,
    budget: { maxBytes: RING_BYTES, usedBytes: 0 },
    ...{ clock, maxReadBytes: deps.maxReadBytes, onGap, onFault },
    pace: async (name: GroupName) => {
      const group = groups.get(name);
      if (group !== undefined) await deps.pace(group);
    },
    deliver: (name: GroupName, message: BusMessage) => {
      const group = groups.get(name);
      if (group !== undefined) deliver(group, message);
    },
    resync: (name: GroupName) => {
      for (const { member } of groups.get(name)?.positioned() ?? []) member.onInsufficientState(name);
    },
  };
  const open = (name: GroupName, retention: Retention | undefined): Group => {
    const follower = retention && new Follower(name, retention, followerDeps);
    const ready = bus.subscribe(name).then(() => follower?.open());
    lastId += 1;
    const group = new Group(name, lastId, { ready, follower, onLag });
    groups.set(name, group);
    return group;
  };
  const close = (group: Group): void => {
    if (groups.get(group.name) !== group) return;
    groups.delete(group.name);
    group.follower?.close();
    bus.unsubscribe(group.name);
  };

  return {
    get: (name) => groups.get(name),
    all: () => groups.values(),
    size: () => groups.size,
    hold: async (name, retention) => {
      const group = groups.get(name) ?? open(name, retention);
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
