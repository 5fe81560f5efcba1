import type { RedisConnections } from '@muster/kit/redis';
import { type Day, daysOf, type Increments, outdated } from '../core/history.ts';
import type { AggregatorKeys } from './keys.ts';

/** Days by subject in Redis, where they outlive every aggregator. */
export interface HistoryStore {
  /** Adds seconds; false when `epoch` is not the present leader's. Not to be repeated: it counts. */
  add(epoch: number, increments: Increments): Promise<boolean>;
  /** The last days of each subject. */
  read(subjects: readonly string[], now: number): Promise<ReadonlyMap<string, readonly Day[]>>;
  /** Drops days that are older than what is kept. */
  prune(subjects: readonly string[], now: number): Promise<void>;
}

/** KEYS epoch, one hash for each subject · ARGV epoch, then for each increment: number of the key, field, seconds */
const ADD_SCRIPT = `
if tonumber(redis.call('GET', KEYS[1]) or '0') ~= tonumber(ARGV[1]) then return 0 end
for i = 2, #ARGV, 3 do redis.call('HINCRBY', KEYS[tonumber(ARGV[i])], ARGV[i + 1], ARGV[i + 2]) end
return 1`;

/** Opens the store; it needs no connection of its own. */
export const createHistoryStore = (redis: RedisConnections, keys: AggregatorKeys): HistoryStore => ({
  add: async (epoch, increments) => {
    const subjects = [...increments.keys()];
    if (subjects.length === 0) return true;
    const names = [keys.epoch, ...subjects.map((subject) => keys.days(subject))];
    const rows = subjects.flatMap((subject, index) =>
      [...(increments.get(subject) ?? [])].flatMap(([field, seconds]) => [index + 2, field, seconds]),
    );
    return (await redis.lane().eval(ADD_SCRIPT, names.length, ...names, epoch, ...rows)) === 1;
  },
  read: async (subjects, now) => {
    const all = await Promise.all(
      subjects.map((subject) => redis.retry((lane) => lane.hgetall(keys.days(subject)))),
    );
    return new Map(subjects.map((subject, index) => [subject, daysOf(all[index] ?? {}, now)]));
  },
  prune: async (subjects, now) => {
    for (const subject of subjects) {
      const old = outdated(await redis.retry((lane) => lane.hkeys(keys.days(subject))), now);
      if (old.length > 0) await redis.retry((lane) => lane.hdel(keys.days(subject), ...old));
    }
  },
});
