import { registryKeys, type ShedRequest } from '@muster/kit/fleet/heartbeat';
import type { RedisConnections } from '@muster/kit/redis/connection';
import type { GatewayMoves } from '../core/rebalance-policy.ts';
import type { AggregatorKeys } from './redis-keys.ts';

/** Five heartbeats: a directive that a gateway has not received by then is out of date. */
const DIRECTIVE_TTL_MS = 10_000;

/** Outcome of a round: issued, refused because another aggregator leads, or repeated within the time of the previous round. */
export type RoundOutcome = 'issued' | 'refused' | 'repeated';

/** Rounds of rebalances in Redis. */
export type RebalanceRounds = ReturnType<typeof createRebalanceRounds>;

/**
 * An earlier directive of an operator stays: its drain or resume may not have been followed yet.
 *
 * KEYS epoch, round, events, directives · ARGV epoch, time of a round, TTL of directives, mode, plan, a request for each directive
 */
const ISSUE_SCRIPT = `
if (redis.call('GET', KEYS[1]) or '0') ~= ARGV[1] then return 'refused' end
if not redis.call('SET', KEYS[2], ARGV[5], 'PX', ARGV[2], 'NX') then return 'repeated' end
local time = redis.call('TIME')
local at = time[1] * 1000 + math.floor(time[2] / 1000)
for i = 4, #KEYS do
  local directive = cjson.decode(ARGV[i + 2])
  directive.kind = 'shed'
  directive.at = at
  redis.call('SET', KEYS[i], cjson.encode(directive), 'PX', ARGV[3], 'NX')
end
redis.call('XADD', KEYS[3], 'MAXLEN', '~', 10000, '*', 'type', 'rebalance', 'mode', ARGV[4], 'plan', ARGV[5])
return 'issued'`;

/** Creates the store on the shared connections. */
export const createRebalanceRounds = (redis: RedisConnections, keys: AggregatorKeys, fleetName: string) => {
  const registry = registryKeys(redis.prefix, fleetName);
  return {
    /**
     * Writes the directives of a round and an event for the audit, all or nothing, and at most once per round, by any leader. A dry run
     * writes only the event. Rejects without Redis.
     */
    issue: async (round: {
      readonly epoch: number;
      readonly plan: readonly GatewayMoves[];
      readonly roundMs: number;
      readonly isDryRun: boolean;
      readonly limits: Pick<ShedRequest, 'minAgeMs' | 'cooldownMs'>;
    }): Promise<RoundOutcome> => {
      const { epoch, plan, roundMs, isDryRun, limits } = round;
      const moves = isDryRun ? [] : plan;
      const names = [
        keys.epoch,
        keys.rebalanceRound,
        registry.events,
        ...moves.map(({ id }) => registry.directive(id)),
      ];
      const requests = moves.map(({ count, perSecond }) => JSON.stringify({ count, perSecond, ...limits }));
      const mode = isDryRun ? 'dry-run' : 'on';
      // Not by retry(): a second execution would find the round of the first.
      const outcome = await redis
        .lane()
        .eval(
          ...([ISSUE_SCRIPT, names.length, ...names] as const),
          ...[epoch, roundMs, DIRECTIVE_TTL_MS, mode, JSON.stringify(plan), ...requests],
        );
      return outcome as RoundOutcome;
    },
  };
};
