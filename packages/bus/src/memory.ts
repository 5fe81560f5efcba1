import { AppError } from '@muster/protocol/errors';
import type { GroupName } from '@muster/protocol/ids';
import type { Bus, BusHandlers } from './bus.ts';
import { decodeMessage, encodeMessage } from './envelope.ts';

/** A bus within one process, for tests and for a gateway alone. Several replicas share one broker. */
export interface MemoryBroker {
  connect(handlers: BusHandlers): Bus;
  /** Cuts every link, as a crashed Redis would. */
  stop(): void;
  /** Brings the links back. */
  start(): void;
}

interface Member {
  readonly handlers: BusHandlers;
  readonly groups: Set<GroupName>;
}

/** A broker without any replica. Messages arrive in a later microtask, in the order in which they were published. */
export const createMemoryBroker = (): MemoryBroker => {
  const members = new Set<Member>();
  let up = true;

  const deliver = (group: GroupName, bytes: Buffer): void => {
    const message = decodeMessage(bytes);
    if (!up || message === undefined) return;
    for (const { groups, handlers } of members) if (groups.has(group)) handlers.onMessage(group, message);
  };
  const requireUp = (): void => {
    if (!up) throw new AppError('REDIS_UNAVAILABLE');
  };

  return {
    stop: () => {
      up = false;
    },
    start: () => {
      if (up) return;
      up = true;
      for (const { handlers } of members) handlers.onReconnected();
    },
    connect: (handlers) => {
      const member: Member = { handlers, groups: new Set() };
      members.add(member);
      return {
        publish: async (group, message) => {
          requireUp();
          const bytes = encodeMessage(message);
          queueMicrotask(() => deliver(group, bytes));
        },
        subscribe: async (group) => {
          requireUp();
          member.groups.add(group);
        },
        unsubscribe: (group) => void member.groups.delete(group),
        isUp: () => up,
        subscriptions: () => (up ? member.groups.size : 0),
        [Symbol.asyncDispose]: async () => void members.delete(member),
      };
    },
  };
};
