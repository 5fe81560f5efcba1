import { randomUUID } from 'node:crypto';
import { every } from '@muster/kit/clock';
import type { Logger } from '@muster/kit/logger';
import type { RedisConnections } from '@muster/kit/redis/connection';
import { AppError } from '@muster/protocol/errors';
import type { GroupKey } from './group-key.ts';
import { pinnedConnection } from './pinned-connection.ts';
import type { Presence, PresenceHandlers } from './presence.ts';
import { createPresenceQueue } from './presence-write-queue.ts';
import { groupKeys } from './redis-keys.ts';
import { createPresenceBatchWriter } from './redis-presence-writes.ts';
import { REMOVE_STALE_PRESENCE, runScript } from './redis-scripts.ts';

export interface RedisPresenceDeps {
  readonly redis: RedisConnections;
  readonly log: Logger;
}

/** Lifetime of a lease. Clients of a crashed replica are not listed after it. */
const LEASE_MS = 5_000;
const RENEW_MS = 1_500;
/** Interval of the search for crashed replicas. */
const SWEEP_MS = 2_000;
/** Lifetime of the cached state of another replica's lease. */
const LEASE_CACHE_MS = 1_000;
const CLAIM_MS = 10_000;

/**
 * One hash per group, client → `<incarnation> <info>`, and one lease per replica. Nothing is refreshed per client: when
 * the lease of a crashed replica expires, its clients are no longer listed, and another replica removes their entries.
 */
export const createRedisPresence = ({ redis, log }: RedisPresenceDeps, handlers: PresenceHandlers): Presence => {
  const own = randomUUID();
  const names = presenceNames(redis.prefix);
  const local = new Map<GroupKey, Map<string, string>>();
  const lane = pinnedConnection(redis);
  const leases = createLeases(redis, names.lease, own);

  const write = createPresenceBatchWriter({
    ...{ redis, lane, index: names.groups(own) },
    hasClients: (group) => local.has(group),
  });
  const writer = createPresenceQueue(write);

  /** Renews the lease. An expired lease means that others removed our entries: all are written again. */
  const renew = async (): Promise<void> => {
    const before = await redis.retry((lane) => lane.set(names.lease(own), '1', 'PX', LEASE_MS, 'GET'));
    if (before !== null) return;
    await redis.retry((lane) => lane.sadd(names.index, own));
    for (const [group, members] of local) await write(new Map([[group, members]]));
  };
  const sweep = () => removeCrashedReplicas({ redis, names, own, leases, handlers });
  const background = (run: () => Promise<void>, event: Parameters<Logger['debug']>[1]) => () => {
    run().catch((error: unknown) => log.debug({ error }, event));
  };
  const stops = [
    every(RENEW_MS, background(renew, 'presence.renew_failed')),
    every(SWEEP_MS, background(sweep, 'presence.sweep_failed')),
  ];
  const started = renew();
  started.catch((error: unknown) => log.debug({ error }, 'presence.renew_failed'));

  return {
    add: (group, client, info) => {
      const members = local.get(group) ?? new Map<string, string>();
      local.set(group, members.set(client, `${own} ${info}`));
      return writer.set(group, client, `${own} ${info}`);
    },
    remove: async (group, client) => {
      const members = local.get(group);
      members?.delete(client);
      if (members?.size === 0) local.delete(group);
      await writer.set(group, client, undefined).catch(() => {});
    },
    read: async (group, most = 0) => {
      const key = groupKeys(redis.prefix, group).presence;
      try {
        // Counted first: reading a hash of a hundred thousand clients would block Redis for all others.
        if (most > 0 && (await redis.retry((lane) => lane.hlen(key))) > most) return undefined;
        const entries = await redis.retry((lane) => lane.hgetall(key));
        return await leases.liveEntries(entries);
      } catch (cause) {
        throw new AppError('REDIS_UNAVAILABLE', { cause });
      }
    },
    [Symbol.asyncDispose]: async () => {
      for (const stop of stops) stop();
      await started.catch(() => {});
      const groups = [...local.entries()];
      local.clear();
      const removals = groups.map(([group, members]) =>
        write(new Map([[group, new Map([...members.keys()].map((client) => [client, undefined]))]])),
      );
      await Promise.allSettled([
        ...removals,
        redis.lane().del(names.lease(own)),
        redis.lane().del(names.groups(own)),
        redis.lane().srem(names.index, own),
      ]);
    },
  };
};

type Names = ReturnType<typeof presenceNames>;

const presenceNames = (prefix: string) => ({
  /** Set of the incarnations that may have entries. */
  index: `${prefix}presence:index`,
  lease: (incarnation: string) => `${prefix}presence:lease:${incarnation}`,
  /** Set of the groups in which an incarnation has clients. */
  groups: (incarnation: string) => `${prefix}presence:groups:${incarnation}`,
  claim: (incarnation: string) => `${prefix}presence:claim:${incarnation}`,
});

/** State of the leases of other replicas, cached for a second. */
const createLeases = (redis: RedisConnections, nameOf: Names['lease'], own: string) => {
  const known = new Map<string, { readonly isLive: boolean; readonly at: number }>();

  const isLive = async (incarnation: string): Promise<boolean> => {
    if (incarnation === own) return true;
    const answer = known.get(incarnation);
    if (answer !== undefined && performance.now() - answer.at < LEASE_CACHE_MS) return answer.isLive;
    const found = (await redis.retry((lane) => lane.exists(nameOf(incarnation)))) === 1;
    known.set(incarnation, { isLive: found, at: performance.now() });
    return found;
  };
  return {
    isLive,
    forget: (incarnation: string): void => void known.delete(incarnation),
    /** Infos by client, of replicas with a lease only. */
    liveEntries: async (entries: Readonly<Record<string, string>>): Promise<Map<string, string>> => {
      const parsed = Object.entries(entries).map(([client, value]) => ({ client, ...parseValue(value) }));
      const incarnations = [...new Set(parsed.map(({ incarnation }) => incarnation))];
      const answers = await Promise.all(incarnations.map(isLive));
      const alive = new Set(incarnations.filter((_, index) => answers[index]));
      return new Map(
        parsed.filter(({ incarnation }) => alive.has(incarnation)).map(({ client, info }) => [client, info]),
      );
    },
  };
};

/** Removes the entries of crashed replicas. One replica claims each of them and calls `onGone`. */
const removeCrashedReplicas = async ({
  redis,
  names,
  own,
  leases,
  handlers,
}: {
  readonly redis: RedisConnections;
  readonly names: Names;
  readonly own: string;
  readonly leases: ReturnType<typeof createLeases>;
  readonly handlers: PresenceHandlers;
}): Promise<void> => {
  for (const incarnation of await redis.retry((lane) => lane.smembers(names.index))) {
    if (incarnation === own || (await leases.isLive(incarnation))) continue;
    const claimed = await redis.lane().set(names.claim(incarnation), own, 'PX', CLAIM_MS, 'NX');
    if (claimed === null) continue;
    for (const name of await redis.lane().smembers(names.groups(incarnation))) {
      const group = name as GroupKey;
      const key = groupKeys(redis.prefix, group).presence;
      const stale = (await runScript(redis.lane(), REMOVE_STALE_PRESENCE, [key], [`${incarnation} `])) as string[];
      for (let at = 0; at + 1 < stale.length; at += 2) {
        handlers.onGone(group, stale[at] ?? '', parseValue(stale[at + 1] ?? '').info);
      }
    }
    await redis.lane().del(names.groups(incarnation));
    await redis.lane().srem(names.index, incarnation);
    leases.forget(incarnation);
  }
};

const parseValue = (value: string): { readonly incarnation: string; readonly info: string } => {
  const space = value.indexOf(' ');
  return { incarnation: value.slice(0, space), info: value.slice(space + 1) };
};
