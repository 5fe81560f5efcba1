import { AppError } from '@muster/protocol/errors';
import type { GroupKey } from './group-key.ts';
import type { Presence, PresenceHandlers } from './presence.ts';

/** Presence within one process, for tests. Several replicas share one store. */
export interface MemoryPresence {
  connect(
    handlers: PresenceHandlers,
  ): Presence & { /** Crash of the replica; the others detect it at once. */ die(): void };
  /** Fault injection: false makes the store unavailable. */
  isUp: boolean;
}

interface Replica {
  readonly handlers: PresenceHandlers;
  readonly groups: Map<GroupKey, Map<string, string>>;
}

export const createMemoryPresence = (): MemoryPresence => {
  const replicas = new Set<Replica>();
  const store: MemoryPresence = {
    isUp: true,
    connect: (handlers) => {
      const own: Replica = { handlers, groups: new Map() };
      replicas.add(own);
      return {
        add: async (group, client, info) => {
          if (!store.isUp) throw new AppError('REDIS_UNAVAILABLE');
          const members = own.groups.get(group) ?? new Map<string, string>();
          own.groups.set(group, members.set(client, info));
        },
        remove: async (group, client) => void own.groups.get(group)?.delete(client),
        read: async (group, most = 0) => {
          if (!store.isUp) throw new AppError('REDIS_UNAVAILABLE');
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
  return store;
};
