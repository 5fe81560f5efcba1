import { registryKeys } from '@muster/kit/fleet/heartbeat';
import type { RedisConnections } from '@muster/kit/redis/connection';

const LIFE_MS = 60_000;

/** Leaves directives where the heartbeats of instances find them. */
export interface DrainDirectives {
  /** Writes one; the instance follows with its next heartbeat, within about two seconds. Rejects without Redis. */
  issue(id: string, kind: 'drain' | 'resume', about: { readonly reason: string }): Promise<void>;
}

/** KEYS directive, events · ARGV kind, life, id, reason */
const ISSUE_SCRIPT = `
local time = redis.call('TIME')
local at = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('SET', KEYS[1], cjson.encode({kind = ARGV[1], at = at}), 'PX', ARGV[2])
return redis.call('XADD', KEYS[2], 'MAXLEN', '~', 10000, '*', 'type', ARGV[1], 'id', ARGV[3], 'reason', ARGV[4])`;

/** Directives of a fleet, with an entry in its event stream for each: that is the audit. */
export const createDrainDirectives = (redis: RedisConnections, fleetName: string): DrainDirectives => {
  const keys = registryKeys(redis.prefix, fleetName);
  return {
    issue: async (id, kind, { reason }) => {
      await redis.lane().eval(ISSUE_SCRIPT, 2, keys.directive(id), keys.events, kind, LIFE_MS, id, reason);
    },
  };
};
