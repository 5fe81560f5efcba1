import { registryKeys } from '@muster/kit/fleet/heartbeat';
import type { RedisConnections } from '@muster/kit/redis/connection';

const DIRECTIVE_TTL_MS = 60_000;

/** Directives for instances. */
export type DrainDirectives = ReturnType<typeof createDrainDirectives>;

/** KEYS directive, events · ARGV kind, TTL, id, reason */
const ISSUE_SCRIPT = `
local time = redis.call('TIME')
local at = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('SET', KEYS[1], cjson.encode({kind = ARGV[1], at = at}), 'PX', ARGV[2])
return redis.call('XADD', KEYS[2], 'MAXLEN', '~', 10000, '*', 'type', ARGV[1], 'id', ARGV[3], 'reason', ARGV[4])`;

/** Directives in Redis, each with an entry in the event stream of the fleet for the audit. */
export const createDrainDirectives = (redis: RedisConnections, fleetName: string) => {
  const keys = registryKeys(redis.prefix, fleetName);
  return {
    /** Writes a directive; the instance applies it with its next heartbeat, within about two seconds. Rejects without Redis. */
    issue: async (id: string, kind: 'drain' | 'resume', { reason }: { readonly reason: string }): Promise<void> => {
      await redis.lane().eval(ISSUE_SCRIPT, 2, keys.directive(id), keys.events, kind, DIRECTIVE_TTL_MS, id, reason);
    },
  };
};
