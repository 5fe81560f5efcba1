import type { RedisConnections } from '@muster/kit/redis/connection';
import type { Incident, IncidentChange, WriteOutcome } from '../core/incidents.ts';
import type { AggregatorKeys } from './redis-keys.ts';

const KEPT = 500;

/** Stored incidents; `version` counts their changes. */
export interface StoredIncidents {
  readonly version: string;
  /** Newest first. */
  readonly items: readonly Incident[];
}

/** Incidents in Redis. */
export type IncidentStore = ReturnType<typeof createIncidentStore>;

/** KEYS guard, incidents, index, webhooks, due, version · ARGV expected value of the guard, id, openedAt, json, kept, channels, seq, notification, now, isNote */
const WRITE_SCRIPT = `
if (redis.call('GET', KEYS[1]) or '0') ~= ARGV[1] then return 'refused' end
local stored = ARGV[10] == '1' and redis.call('HGET', KEYS[2], ARGV[2])
if stored and stored ~= ARGV[4] and cjson.decode(stored).seq >= tonumber(ARGV[7]) then return 'outdated' end
redis.call('INCR', KEYS[6])
redis.call('HSET', KEYS[2], ARGV[2], ARGV[4])
redis.call('ZADD', KEYS[3], ARGV[3], ARGV[2])
local old = redis.call('ZRANGE', KEYS[3], 0, -(tonumber(ARGV[5]) + 1))
for _, id in ipairs(old) do
  redis.call('HDEL', KEYS[2], id)
  redis.call('ZREM', KEYS[3], id)
end
for channel = 0, tonumber(ARGV[6]) - 1 do
  local message = ARGV[2] .. ':' .. ARGV[7] .. ':' .. channel
  if redis.call('HSETNX', KEYS[4], message, ARGV[8]) == 1 then redis.call('ZADD', KEYS[5], ARGV[9], message) end
end
return 'written'`;

/** Creates the store on the shared connections. */
export const createIncidentStore = (redis: RedisConnections, keys: AggregatorKeys) => {
  const write = async (
    { key, expected, epoch }: { readonly key: string; readonly expected: string; readonly epoch: number },
    { kind, incident }: IncidentChange,
    channels: number,
    now: number,
  ): Promise<WriteOutcome> => {
    const names = [key, keys.incidents, keys.incidentIndex, keys.webhookQueue, keys.webhooksDue, keys.incidentVersion];
    const notification = JSON.stringify({ kind, incident, epoch, firstAt: now, attempts: 0 });
    const { id, openedAt, seq, isNote } = incident;
    const values = [
      ...[expected, id, openedAt, JSON.stringify(incident), KEPT, channels, seq, notification, now],
      isNote ? 1 : 0,
    ];
    const outcome = await redis.retry((lane) => lane.eval(WRITE_SCRIPT, names.length, ...names, ...values));
    return outcome as WriteOutcome;
  };
  return {
    /** The latest incidents. */
    read: async (count: number): Promise<StoredIncidents> => {
      // The version first: after a change in between a later write fails, and everything is read again.
      const version = (await redis.retry((lane) => lane.get(keys.incidentVersion))) ?? '0';
      const ids = await redis.retry((lane) => lane.zrevrange(keys.incidentIndex, 0, count - 1));
      if (ids.length === 0) return { version, items: [] };
      const texts = await redis.retry((lane) => lane.hmget(keys.incidents, ...ids));
      return {
        version,
        items: texts.flatMap((text) => (text === null ? [] : [JSON.parse(text) as Incident])),
      };
    },
    /** An incident of any age. */
    find: async (id: string): Promise<Incident | undefined> => {
      const text = await redis.retry((lane) => lane.hget(keys.incidents, id));
      return text === null ? undefined : (JSON.parse(text) as Incident);
    },
    /** Writes a change and its notifications atomically; `refused` if `epoch` is not that of the leader. */
    write: (epoch: number, change: IncidentChange, channels: number, now: number) =>
      write({ key: keys.epoch, expected: String(epoch), epoch }, change, channels, now),
    /** The same for an observation without a leader; `refused` after another write since `version`. */
    record: (version: string, epoch: number, change: IncidentChange, channels: number, now: number) =>
      write({ key: keys.incidentVersion, expected: version, epoch }, change, channels, now),
  };
};
