import { randomUUID } from 'node:crypto';
import { every } from '@muster/kit/clock';
import type { Logger } from '@muster/kit/logger';
import type { RedisConnections } from '@muster/kit/redis/connection';
import { AppError } from '@muster/protocol/errors';
import type { GroupKey } from './group-key.ts';
import { pinnedConnection } from './pinned-connection.ts';
import type { Presence, PresenceHandlers } from './presence.ts';
import { createPresenceQueue } from './presence-queue.ts';
import { groupKeys } from './redis-keys.ts';
import { createPresenceBatchWriter } from './redis-presence-batch.ts';
import { REMOVE_STALE_PRESENCE, runScript } from './redis-scripts.ts';

export interface RedisPresenceDeps {
  readonly redis: RedisConnections;
  readonly log: Logger;
}

/** Life of a lease without renewal. Readers see nobody of a replica that died this long ago. */
const LEASE_MS = 5_000;
const RENEW_MS = 1_500;
/** Time between two looks for replicas that died. */
const SWEEP_MS = 2_000;
/** How long a replica's lease is taken as read. */
const TRUST_MS = 1_000;
const CLAIM_MS = 10_000;

/**
 * One hash per group, client → `<incarnation> <info>`, and one lease per replica. Nothing is refreshed per client: a
 * replica that dies takes all its clients along when its lease runs out, and a survivor clears up after it.
 */
export const createRedisPresence = (
  { redis, log }: RedisPresenceDeps,
  handlers: PresenceHandlers,
): Presence => {
  const own = randomUUID();
  const names = presenceNames(redis.prefix);
  const local = new Map<GroupKey, Map<string, string>>();
  const lane = pinnedConnection(redis);
  const leases = createLeases(redis, names.lease, own);

  const write = createPresenceBatchWriter({
    ...{ redis, lane, index: names.groups(own) },
    isHere: (group) => local.has(group),
  });
  const writer = createPresenceQueue(write);

  /** Renews the lease. When it was gone, others have cleared up after us: everything is said again. */
  const renew = async (): Promise<void> => {
    const before = await redis.retry((one) => one.set(names.lease(own), '1', 'PX', LEASE_MS, 'GET'));
    if (before !== null) return;
    await redis.retry((one) => one.sadd(names.index, own));
    for (const [group, members] of local) await write(new Map([[group, members]]));
  };
  const sweep = () => sweepGhosts({ redis, names, own, leases, handlers });
  const background = (run: () => Promise<void>, event: Parameters<Logger['debug']>[1]) => () => {
    run().catch((error: unknown) => log.debug({ error }, event));
  };
  const stops = [
    every(RENEW_MS, background(renew, 'presence.renew_failed')),
    every(SWEEP_MS, background(sweep, 'presence.sweep_failed')),
  ];
  const begun = renew();
  begun.catch((error: unknown) => log.debug({ error }, 'presence.renew_failed'));

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
        // Counted first: reading a hash of a hundred thousand would keep Redis from everybody else.
        if (most > 0 && (await redis.retry((one) => one.hlen(key))) > most) return undefined;
        const entries = await redis.retry((one) => one.hgetall(key));
        return await leases.living(entries);
      } catch (cause) {
        throw new AppError('REDIS_UNAVAILABLE', { cause });
      }
    },
    [Symbol.asyncDispose]: async () => {
      for (const stop of stops) stop();
      await begun.catch(() => {});
      const groups = [...local.entries()];
      local.clear();
      const gone = groups.map(([group, members]) =>
        write(new Map([[group, new Map([...members.keys()].map((client) => [client, undefined]))]])),
      );
      await Promise.allSettled([
        ...gone,
        redis.lane().del(names.lease(own)),
        redis.lane().del(names.groups(own)),
        redis.lane().srem(names.index, own),
      ]);
    },
  };
};

type Names = ReturnType<typeof presenceNames>;

const presenceNames = (prefix: string) => ({
  /** Set of the incarnations that may have left something behind. */
  index: `${prefix}presence:index`,
  lease: (incarnation: string) => `${prefix}presence:lease:${incarnation}`,
  /** Set of the groups in which an incarnation has clients. */
  groups: (incarnation: string) => `${prefix}presence:groups:${incarnation}`,
  claim: (incarnation: string) => `${prefix}presence:claim:${incarnation}`,
});

/** Which replicas live, asked at most once a second each. */
const createLeases = (redis: RedisConnections, nameOf: Names['lease'], own: string) => {
  const known = new Map<string, { readonly lives: boolean; readonly at: number }>();

  const lives = async (incarnation: string): Promise<boolean> => {
    if (incarnation === own) return true;
    const answer = known.get(incarnation);
    if (answer !== undefined && performance.now() - answer.at < TRUST_MS) return answer.lives;
    const found = (await redis.retry((one) => one.exists(nameOf(incarnation)))) === 1;
    known.set(incarnation, { lives: found, at: performance.now() });
    return found;
  };
  return {
    lives,
    forget: (incarnation: string): void => void known.delete(incarnation),
    /** Infos by client, of living replicas only. */
    living: async (entries: Readonly<Record<string, string>>): Promise<Map<string, string>> => {
      const parsed = Object.entries(entries).map(([client, value]) => ({ client, ...parseValue(value) }));
      const incarnations = [...new Set(parsed.map(({ incarnation }) => incarnation))];
      const answers = await Promise.all(incarnations.map(lives));
      const alive = new Set(incarnations.filter((_, index) => answers[index]));
      return new Map(
        parsed.filter(({ incarnation }) => alive.has(incarnation)).map(({ client, info }) => [client, info]),
      );
    },
  };
};

/** Clears up after replicas that died. Each is claimed by one survivor, which then tells what is gone. */
const sweepGhosts = async ({
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
  for (const incarnation of await redis.retry((one) => one.smembers(names.index))) {
    if (incarnation === own || (await leases.lives(incarnation))) continue;
    const claimed = await redis.lane().set(names.claim(incarnation), own, 'PX', CLAIM_MS, 'NX');
    if (claimed === null) continue;
    for (const name of await redis.lane().smembers(names.groups(incarnation))) {
      const group = name as GroupKey;
      const key = groupKeys(redis.prefix, group).presence;
      const ghosts = (await runScript(
        redis.lane(),
        REMOVE_STALE_PRESENCE,
        [key],
        [`${incarnation} `],
      )) as string[];
      for (let at = 0; at + 1 < ghosts.length; at += 2) {
        handlers.onGone(group, ghosts[at] ?? '', parseValue(ghosts[at + 1] ?? '').info);
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
