import type { Bus } from '@muster/bus/bus';
import { draftPublication, unkeptMessage } from '@muster/bus/draft';
import type { BusMessage } from '@muster/bus/envelope';
import type { Clock } from '@muster/kit/clock';
import type { Payload } from '@muster/protocol/commands';
import { AppError } from '@muster/protocol/errors';
import type { GroupName } from '@muster/protocol/ids';
import type { ClientInfo } from '@muster/protocol/replies';
import { type Encoding, Group, Subscription } from './group.ts';
import type { Outbox } from './outbox.ts';
import type { EngineMetrics } from './ports.ts';

export interface HubDeps {
  readonly bus: Pick<Bus, 'publish' | 'subscribe' | 'unsubscribe' | 'isUp'>;
  readonly clock: Clock;
  readonly metrics: EngineMetrics;
}

/** The groups that have members here, and the way between them and the bus. */
export interface Hub {
  /**
   * Prepares a membership: the group is heard from the bus, but nothing is delivered before {@link Hub.goLive}.
   * Throws {@link AppError} REDIS_UNAVAILABLE when the bus cannot be reached.
   */
  join(name: GroupName, encoding: Encoding, outbox: Outbox): Promise<Subscription>;
  goLive(subscription: Subscription): void;
  /** Ends a membership, prepared or live. */
  leave(subscription: Subscription): void;
  /** Gives a publication to the bus; it comes back to local members from there. Throws REDIS_UNAVAILABLE. */
  publish(name: GroupName, data: Payload, info: ClientInfo): Promise<void>;
  /** What the bus has to say. */
  onMessage(name: GroupName, message: BusMessage): void;
  counts(): { readonly groups: number; readonly subscriptions: number };
}

/** Longest time in milliseconds that a fan-out keeps the event loop to itself. */
const SLICE_BUDGET_MS = 8;

export const createHub = ({ bus, clock, metrics }: HubDeps): Hub => {
  const groups = new Map<GroupName, Group>();
  const slicer = createSlicer(clock);
  let subscriptions = 0;

  const hold = (name: GroupName): Group => {
    let group = groups.get(name);
    if (group === undefined) {
      group = new Group(name, bus.subscribe(name));
      groups.set(name, group);
    }
    group.holds += 1;
    return group;
  };
  const release = (group: Group): void => {
    group.holds -= 1;
    if (group.holds > 0 || groups.get(group.name) !== group) return;
    groups.delete(group.name);
    bus.unsubscribe(group.name);
  };

  return {
    join: async (name, encoding, outbox) => {
      if (!bus.isUp()) throw new AppError('REDIS_UNAVAILABLE');
      const group = hold(name);
      try {
        await group.ready;
      } catch (error) {
        // The next one to come tries anew.
        if (groups.get(name) === group) groups.delete(name);
        throw error;
      }
      return new Subscription(group, encoding, outbox);
    },
    goLive: (subscription) => {
      subscription.group.add(subscription);
      subscriptions += 1;
    },
    leave: (subscription) => {
      if (subscription.isLive) subscriptions -= 1;
      subscription.group.remove(subscription);
      release(subscription.group);
    },
    publish: async (name, data, info) => {
      const begun = clock.monotonic();
      const seconds = () => (clock.monotonic() - begun) / 1000;
      try {
        await bus.publish(name, unkeptMessage(draftPublication(name, { data, info })));
      } catch (error) {
        metrics.published('error', seconds());
        throw error;
      }
      metrics.published('ok', seconds());
    },
    onMessage: (name, message) => {
      const group = groups.get(name);
      if (group === undefined) return;
      metrics.fannedOut(group.size, message.body.length);
      if (group.deliver(message)) slicer.add(group);
    },
    counts: () => ({ groups: groups.size, subscriptions }),
  };
};

/** Carries large fan-outs on, a few milliseconds per turn of the event loop, each group in its turn. */
const createSlicer = (clock: Clock) => {
  const busy = new Set<Group>();
  let scheduled = false;
  const schedule = (): void => {
    if (scheduled) return;
    scheduled = true;
    setImmediate(run);
  };
  const run = (): void => {
    scheduled = false;
    const until = clock.monotonic() + SLICE_BUDGET_MS;
    while (busy.size > 0 && clock.monotonic() < until) {
      for (const group of busy) if (!group.proceed()) busy.delete(group);
    }
    if (busy.size > 0) schedule();
  };
  return {
    add: (group: Group): void => {
      busy.add(group);
      schedule();
    },
  };
};
