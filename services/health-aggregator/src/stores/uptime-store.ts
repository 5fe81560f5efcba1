import type { RedisConnections } from '@muster/kit/redis/connection';
import { expiredFields, type Increments, type TimeRange, uptimeDaysOf } from '../core/uptime-history.ts';
import type { AggregatorKeys } from './redis-keys.ts';

/** Uptime days by subject in Redis. */
export type UptimeStore = ReturnType<typeof createUptimeStore>;

/** Seconds to add. */
interface UptimeEntry {
  readonly epoch: number;
  readonly before: number | undefined;
  readonly until: number;
  readonly increments: Increments;
  readonly gaps: readonly TimeRange[];
}

const MAX_GAPS = 100;

/** KEYS until, gaps, epoch, a hash for each subject · ARGV epoch, before, until, gaps as JSON list, then for each increment: number of the key, field, seconds */
const ADD_SCRIPT = `
if (redis.call('GET', KEYS[3]) or '0') ~= ARGV[1] then return 0 end
if (redis.call('GET', KEYS[1]) or '') ~= ARGV[2] then return 0 end
redis.call('SET', KEYS[1], ARGV[3])
for _, gap in ipairs(cjson.decode(ARGV[4])) do redis.call('RPUSH', KEYS[2], gap) end
redis.call('LTRIM', KEYS[2], -${MAX_GAPS}, -1)
for i = 5, #ARGV, 3 do redis.call('HINCRBY', KEYS[tonumber(ARGV[i])], ARGV[i + 1], ARGV[i + 2]) end
return 1`;

/** KEYS gaps, a hash for each subject · ARGV gap, gaps that are left as JSON list, then increments as above */
const FILL_SCRIPT = `
if redis.call('LREM', KEYS[1], 1, ARGV[1]) == 0 then return 0 end
for _, gap in ipairs(cjson.decode(ARGV[2])) do redis.call('RPUSH', KEYS[1], gap) end
for i = 3, #ARGV, 3 do redis.call('HINCRBY', KEYS[tonumber(ARGV[i])], ARGV[i + 1], ARGV[i + 2]) end
return 1`;

/** Creates the store on the shared connections. */
export const createUptimeStore = (redis: RedisConnections, keys: AggregatorKeys) => {
  const run = async (
    script: string,
    first: readonly string[],
    values: readonly (string | number)[],
    increments: Increments,
  ): Promise<boolean> => {
    const subjects = [...increments.keys()];
    const names = [...first, ...subjects.map((subject) => keys.days(subject))];
    const rows = subjects.flatMap((subject, index) =>
      [...(increments.get(subject) ?? [])].flatMap(([field, seconds]) => [first.length + index + 1, field, seconds]),
    );
    // Not by retry(): the next write detects from `until` or the gap whether a write that timed out was executed.
    return (await redis.lane().eval(script, names.length, ...names, ...values, ...rows)) === 1;
  };
  return {
    /** How far history is written, ms since the epoch, and the earlier ranges that the writers did not observe. */
    written: async () => {
      const [until, gaps] = await redis.retry((lane) =>
        Promise.all([lane.get(keys.daysUntil), lane.lrange(keys.dayGaps, 0, -1)]),
      );
      return { until: until === null ? undefined : Number(until), gaps: gaps.map(parseSpan) };
    },
    /**
     * Adds seconds up to `until`; false if `epoch` is not that of the leader, or after another write since `before`. So nothing
     * is counted twice, and a write with an unknown outcome can be repeated.
     */
    add: ({ epoch, before, until, increments, gaps }: UptimeEntry) =>
      run(
        ADD_SCRIPT,
        [keys.daysUntil, keys.dayGaps, keys.epoch],
        [epoch, before ?? '', until, JSON.stringify(gaps.map(textOf))],
        increments,
      ),
    /** Fills a gap except for the remaining `left`; false if another observer filled it before. */
    fill: (gap: TimeRange, increments: Increments, left: readonly TimeRange[]) =>
      run(FILL_SCRIPT, [keys.dayGaps], [textOf(gap), JSON.stringify(left.map(textOf))], increments),
    /** The last days of each subject. */
    read: async (subjects: readonly string[], now: number) => {
      const all = await Promise.all(subjects.map((subject) => redis.retry((lane) => lane.hgetall(keys.days(subject)))));
      return new Map(subjects.map((subject, index) => [subject, uptimeDaysOf(all[index] ?? {}, now)]));
    },
    /** Deletes days that are no longer kept. */
    prune: async (subjects: readonly string[], now: number): Promise<void> => {
      for (const subject of subjects) {
        const old = expiredFields(await redis.retry((lane) => lane.hkeys(keys.days(subject))), now);
        if (old.length > 0) await redis.retry((lane) => lane.hdel(keys.days(subject), ...old));
      }
    },
  };
};

const textOf = ({ from, to }: TimeRange): string => `${from}-${to}`;
const parseSpan = (text: string): TimeRange => {
  const [from, to] = text.split('-').map(Number);
  return { from: from ?? 0, to: to ?? 0 };
};
