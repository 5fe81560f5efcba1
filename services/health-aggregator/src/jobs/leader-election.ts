import type { Clock } from '@muster/kit/clock';
import type { Logger } from '@muster/kit/logger';
import { createPeriodicJob } from '@muster/kit/periodic-job';
import type { RedisConnections } from '@muster/kit/redis/connection';
import type { AggregatorKeys } from '../stores/redis-keys.ts';

const RENEW_SHARE = 1 / 3;
/** The leader gives up before its lease expires, so that slow responses never cause two leaders. */
const SAFETY_SHARE = 1 / 4;

/** The leader, as this observer last read it. */
export interface Leader {
  readonly name: string;
  /** Fencing token: increases with each election; writes with a smaller one are refused. */
  readonly epoch: number;
}

/** The lease of the leader among the aggregators. Disposing releases it. */
export type LeaderElection = Awaited<ReturnType<typeof startLeaderElection>>;

interface LeaderElectionDeps {
  readonly redis: RedisConnections;
  readonly keys: AggregatorKeys;
  readonly id: string;
  readonly name: string;
  /** Duration of the lease, ms; it is renewed every third of it. */
  readonly leaseMs: number;
  readonly clock: Clock;
  readonly log: Logger;
}

const ACQUIRE_SCRIPT = `
local owner = redis.call('GET', KEYS[1])
if not owner then
  redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
  return {ARGV[1], redis.call('INCR', KEYS[2])}
end
if owner == ARGV[1] then redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
return {owner, tonumber(redis.call('GET', KEYS[2]) or '0')}`;

const RELEASE_SCRIPT = `if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0`;

/** Tries to acquire or renew the lease every third of it; a crashed leader is replaced within four thirds. Without Redis there is no leader. */
export const startLeaderElection = async (deps: LeaderElectionDeps) => {
  const { redis, keys, id, name, leaseMs, clock, log } = deps;
  const self = `${id} ${name}`;
  let lease: { readonly epoch: number; readonly until: number } | undefined;
  let known: Leader | null = null;

  const epoch = (): number | undefined =>
    lease !== undefined && clock.monotonic() < lease.until ? lease.epoch : undefined;

  const acquireOnce = async (): Promise<void> => {
    const requestedAt = clock.monotonic();
    const before = epoch();
    try {
      // Not by retry(): the lease must count from the first attempt.
      const answer = await redis.lane().eval(ACQUIRE_SCRIPT, 2, keys.leader, keys.epoch, self, leaseMs);
      const [owner, number] = answer as [string, number];
      known = { name: owner.slice(owner.indexOf(' ') + 1), epoch: number };
      lease = owner === self ? { epoch: number, until: requestedAt + leaseMs * (1 - SAFETY_SHARE) } : undefined;
      if (lease && before !== number) log.info({ epoch: number }, 'leader.elected');
    } catch {
      if (epoch() === undefined) known = null; // The cause is logged with the state of the connection.
    }
    if (before !== undefined && epoch() === undefined) log.warn({ epoch: before }, 'leader.lost');
  };
  const job = createPeriodicJob(leaseMs * RENEW_SHARE, acquireOnce);
  await job.runOnce();
  return {
    /** Epoch of the own lease; undefined when this aggregator is not the leader, or cannot be sure. */
    epoch,
    leader: (): Leader | null => known,
    [Symbol.asyncDispose]: async (): Promise<void> => {
      await job[Symbol.asyncDispose]();
      lease = undefined;
      // If this fails the lease expires.
      await redis
        .lane()
        .eval(RELEASE_SCRIPT, 1, keys.leader, self)
        .catch(() => {});
    },
  };
};
