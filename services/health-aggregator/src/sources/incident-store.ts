import type { RedisConnections } from '@muster/kit/redis';
import type { Incident, IncidentChange } from '../core/incidents.ts';
import type { AggregatorKeys } from './keys.ts';

const KEPT = 500;

/** Incidents in Redis, where they outlive every aggregator. */
export interface IncidentStore {
  /** The latest incidents, newest first. */
  latest(count: number): Promise<Incident[]>;
  /** One of them, however old. */
  find(id: string): Promise<Incident | undefined>;
  /** Writes a change and its notifications in one step; false when `epoch` is not the present leader's. */
  write(epoch: number, change: IncidentChange, channels: number, now: number): Promise<boolean>;
}

/** KEYS epoch, incidents, index, outbox, due · ARGV epoch, id, openedAt, json, kept, channels, seq, notification, now */
const WRITE_SCRIPT = `
if tonumber(redis.call('GET', KEYS[1]) or '0') ~= tonumber(ARGV[1]) then return 0 end
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
return 1`;

/** Opens the store; it needs no connection of its own. */
export const createIncidentStore = (redis: RedisConnections, keys: AggregatorKeys): IncidentStore => ({
  latest: async (count) => {
    const ids = await redis.retry((lane) => lane.zrevrange(keys.incidentIndex, 0, count - 1));
    if (ids.length === 0) return [];
    const texts = await redis.retry((lane) => lane.hmget(keys.incidents, ...ids));
    return texts.flatMap((text) => (text === null ? [] : [JSON.parse(text) as Incident]));
  },
  find: async (id) => {
    const text = await redis.retry((lane) => lane.hget(keys.incidents, id));
    return text === null ? undefined : (JSON.parse(text) as Incident);
  },
  write: async (epoch, { kind, incident }, channels, now) => {
    const written = await redis.retry((lane) =>
      lane.eval(
        WRITE_SCRIPT,
        5,
        keys.epoch,
        keys.incidents,
        keys.incidentIndex,
        keys.outbox,
        keys.outboxDue,
        epoch,
        incident.id,
        incident.openedAt,
        JSON.stringify(incident),
        KEPT,
        channels,
        incident.seq,
        JSON.stringify({ kind, incident, epoch, firstAt: now, attempts: 0 }),
        now,
      ),
    );
    return written === 1;
  },
});
