import { AppError } from '@muster/protocol/errors';
import type { Bus, BusHandlers } from './bus.ts';
import { type BusMessage, decodeMessage, encodeMessage } from './envelope.ts';
import type { GroupKey } from './group-key.ts';
import { createMemoryStreams, type MemoryStreams } from './memory-streams.ts';

/** A bus within one process, for tests and for a single gateway. Several replicas share one broker. */
export interface MemoryBroker {
  readonly streams: MemoryStreams;
  connect(handlers: BusHandlers): Bus;
  /** Disconnects every replica, as a crash of Redis does. */
  stop(): void;
  /** Reconnects every replica. */
  start(): void;
  /** Fault injection: messages for which it returns true are not delivered. */
  loses: ((group: GroupKey, message: BusMessage) => boolean) | undefined;
}

interface Member {
  readonly handlers: BusHandlers;
  readonly groups: Set<GroupKey>;
}

/** Messages are delivered in a later microtask, in the order of publishing. */
export const createMemoryBroker = (now: () => number = () => performance.now()): MemoryBroker => {
  const members = new Set<Member>();
  const usedKeys = new Set<string>();
  let up = true;

  const requireUp = (): void => {
    if (!up) throw new AppError('REDIS_UNAVAILABLE');
  };
  const deliver = (group: GroupKey, sent: BusMessage): void => {
    const bytes = encodeMessage(sent);
    queueMicrotask(() => {
      const message = decodeMessage(bytes);
      if (!up || message === undefined || broker.loses?.(group, message)) return;
      for (const { groups, handlers } of members) if (groups.has(group)) handlers.onMessage(group, message);
    });
  };
  const streams = createMemoryStreams({
    requireUp,
    deliver,
    now,
    isSubscribed: (group) => [...members].some(({ groups }) => groups.has(group)),
  });

  const connect = (handlers: BusHandlers): Bus => {
    const member: Member = { handlers, groups: new Set() };
    members.add(member);
    return {
      ...streams,
      publish: async (group, message, idempotencyKey) => {
        requireUp();
        const usedKey = `${group}\n${idempotencyKey}`;
        if (idempotencyKey !== undefined && usedKeys.has(usedKey)) return;
        if (idempotencyKey !== undefined) usedKeys.add(usedKey);
        deliver(group, message);
      },
      subscribe: async (group) => {
        requireUp();
        member.groups.add(group);
      },
      unsubscribe: (group) => void member.groups.delete(group),
      query: async (query) => {
        requireUp();
        return Promise.all([...members].map(async ({ handlers }) => (await handlers.onQuery?.(query)) ?? null));
      },
      isUp: () => up,
      fault: () => (up ? undefined : new AppError('REDIS_UNAVAILABLE')),
      subscriptions: () => (up ? member.groups.size : 0),
      [Symbol.asyncDispose]: async () => void members.delete(member),
    };
  };
  const broker: MemoryBroker = {
    streams,
    connect,
    loses: undefined,
    stop: () => {
      up = false;
      for (const { handlers } of members) handlers.onLost?.();
    },
    start: () => {
      if (up) return;
      up = true;
      for (const { handlers } of members) handlers.onReconnected();
    },
  };
  return broker;
};
