import { AppError } from '@muster/protocol/errors';
import type { GroupKey } from './group-key.ts';
import type { Presence, PresenceHandlers } from './presence.ts';

/** Presence within one process, for tests. Several replicas share one room. */
export interface MemoryPresence {
  connect(
    handlers: PresenceHandlers,
  ): Presence & { /** Ends without a word; the others notice at once. */ die(): void };
  /** False plays a store that is away. */
  isUp: boolean;
}

interface Replica {
  readonly handlers: PresenceHandlers;
  readonly groups: Map<GroupKey, Map<string, string>>;
}

export const createMemoryPresence = (): MemoryPresence => {
  const replicas = new Set<Replica>();
  const room: MemoryPresence = {
    isUp: true,
    connect: (handlers) => {
      const own: Replica = { handlers, groups: new Map() };
      replicas.add(own);
      return {
        add: async (group, client, info) => {
          if (!room.isUp) throw new AppError('REDIS_UNAVAILABLE');
          const members = own.groups.get(group) ?? new Map<string, string>();
          own.groups.set(group, members.set(client, info));
        },
        remove: async (group, client) => void own.groups.get(group)?.delete(client),
        read: async (group, most = 0) => {
          if (!room.isUp) throw new AppError('REDIS_UNAVAILABLE');
          const all = [...replicas].flatMap(({ groups }) => [...(groups.get(group) ?? [])]);
          return most > 0 && all.length > most ? undefined : new Map(all);
        },
        die: () => {
          replicas.delete(own);
          const [survivor] = replicas;
          for (const [group, members] of own.groups) {
            for (const [client, info] of members) survivor?.handlers.onGone(group, client, info);
          }
        },
        [Symbol.asyncDispose]: async () => void replicas.delete(own),
      };
    },
  };
  return room;
};
