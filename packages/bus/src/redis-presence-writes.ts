import type { RedisLink } from '@muster/kit/redis/channels';
import type { RedisConnections } from '@muster/kit/redis/connection';
import { AppError } from '@muster/protocol/errors';
import type { GroupKey } from './group-key.ts';
import type { PresenceBatch, PresenceChanges } from './presence-write-queue.ts';
import { groupKeys } from './redis-keys.ts';
import { runScript, WRITE_PRESENCE } from './redis-scripts.ts';

export interface PresenceBatchDeps {
  readonly redis: RedisConnections;
  readonly lane: () => RedisLink;
  /** Key of the set of groups in which this replica has clients. */
  readonly index: string;
  /** True while this replica has clients in the group. */
  hasClients(group: GroupKey): boolean;
}

/** Writes presence of many groups: in one command, or on a cluster in one or two commands per group. */
export const createPresenceBatchWriter = (
  deps: PresenceBatchDeps,
): ((batch: PresenceBatch) => Promise<ReadonlyMap<GroupKey, unknown>>) =>
  deps.redis.shards === undefined ? (batch) => writeTogether(deps, batch) : (batch) => writeEach(deps, batch);

const NONE: ReadonlyMap<GroupKey, unknown> = new Map();

const writeTogether = async (
  { redis, lane, index, hasClients }: PresenceBatchDeps,
  batch: PresenceBatch,
): Promise<ReadonlyMap<GroupKey, unknown>> => {
  const groups = [...batch];
  const keys = [index, ...groups.map(([group]) => groupKeys(redis.prefix, group).presence)];
  const args = groups.flatMap(([group, changes]) => {
    const { added, removed } = split(changes);
    return [group, hasClients(group) ? 1 : 0, added.length / 2, removed.length, ...added, ...removed];
  });
  try {
    const failed = (await runScript(lane(), WRITE_PRESENCE, keys, args)) as readonly unknown[];
    if (failed.length === 0) return NONE;
    const cause = new Error('the key of this group does not contain presence');
    const error = new AppError('REDIS_UNAVAILABLE', { cause });
    return new Map(failed.flatMap((at) => groups[Number(at) - 1]?.[0] ?? []).map((group) => [group, error]));
  } catch (cause) {
    throw new AppError('REDIS_UNAVAILABLE', { cause });
  }
};

const writeEach = async (deps: PresenceBatchDeps, batch: PresenceBatch): Promise<ReadonlyMap<GroupKey, unknown>> => {
  const failed = new Map<GroupKey, unknown>();
  const writeOne = async ([group, changes]: readonly [GroupKey, PresenceChanges]): Promise<void> => {
    const { redis, lane, index, hasClients } = deps;
    const { added, removed } = split(changes);
    const key = groupKeys(redis.prefix, group).presence;
    const work: Promise<unknown>[] = [];
    if (added.length > 0) work.push(lane().hset(key, ...added), lane().sadd(index, group));
    if (removed.length > 0) work.push(lane().hdel(key, ...removed));
    if (!hasClients(group)) work.push(lane().srem(index, group));
    try {
      await Promise.all(work);
    } catch (cause) {
      failed.set(group, new AppError('REDIS_UNAVAILABLE', { cause }));
    }
  };
  await Promise.all([...batch].map(writeOne));
  return failed;
};

/** `added`: client, value, client, value …; `removed`: clients. */
const split = (changes: PresenceChanges): { added: string[]; removed: string[] } => {
  const added: string[] = [];
  const removed: string[] = [];
  for (const [client, value] of changes) {
    if (value === undefined) removed.push(client);
    else added.push(client, value);
  }
  return { added, removed };
};
