import { type Clock, every } from '@muster/kit/clock';
import type { Logger } from '@muster/kit/logger';
import type { RedisConnections } from '@muster/kit/redis/connection';
import type { AggregatorKeys } from '../stores/redis-keys.ts';

const RENEW_SHARE = 1 / 3;
/** The leader stops a while before others may take over, so that slow answers never make two. */
const SAFETY_SHARE = 1 / 4;

/** Who leads, as far as this observer knows. */
export interface Leader {
  readonly name: string;
  /** Fencing number: each takeover has a greater one, and writes of a smaller one are refused. */
  readonly epoch: number;
}

/** The lock of the one aggregator that has side effects. Disposing gives it up. */
export interface LeaderElection extends AsyncDisposable {
  /** Epoch of our own lease; undefined when we do not lead, also when we cannot tell. */
  epoch(): number | undefined;
  leader(): Leader | null;
}

/** What the lock needs. */
export interface LeaderElectionDeps {
  readonly redis: RedisConnections;
  readonly keys: AggregatorKeys;
  readonly id: string;
  readonly name: string;
  /** How long a leader that says nothing goes on leading; it renews three times as often. */
  readonly leaseMs: number;
  readonly clock: Clock;
  readonly log: Logger;
}

const CAMPAIGN_SCRIPT = `
local owner = redis.call('GET', KEYS[1])
if not owner then
  redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
  return {ARGV[1], redis.call('INCR', KEYS[2])}
end
if owner == ARGV[1] then redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
return {owner, tonumber(redis.call('GET', KEYS[2]) or '0')}`;

const RESIGN_SCRIPT = `if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0`;

/** Campaigns each third of a lease; a leader that dies is replaced within four thirds of one. Without Redis nobody leads. */
export const startLeaderElection = async (deps: LeaderElectionDeps): Promise<LeaderElection> => {
  const { redis, keys, id, name, leaseMs, clock, log } = deps;
  const self = `${id} ${name}`;
  let lease: { readonly epoch: number; readonly until: number } | undefined;
  let known: Leader | null = null;
  let running: Promise<void> | undefined;

  const epoch = (): number | undefined =>
    lease !== undefined && clock.monotonic() < lease.until ? lease.epoch : undefined;

  const campaignOnce = async (): Promise<void> => {
    const asked = clock.monotonic();
    const led = epoch();
    try {
      // Not by retry(): a repeated INCR would only skip a number, yet a lease must count from the first question.
      const answer = await redis.lane().eval(CAMPAIGN_SCRIPT, 2, keys.leader, keys.epoch, self, leaseMs);
      const [owner, number] = answer as [string, number];
      known = { name: owner.slice(owner.indexOf(' ') + 1), epoch: number };
      lease = owner === self ? { epoch: number, until: asked + leaseMs * (1 - SAFETY_SHARE) } : undefined;
      if (lease && led !== number) log.info({ epoch: number }, 'leader.elected');
    } catch {
      if (epoch() === undefined) known = null; // The watcher of the connections reports why.
    }
    if (led !== undefined && epoch() === undefined) log.warn({ epoch: led }, 'leader.lost');
  };
  const run = (): Promise<void> => {
    running ??= campaignOnce().finally(() => {
      running = undefined;
    });
    return running;
  };
  await run();
  const stop = every(leaseMs * RENEW_SHARE, () => void run());
  return {
    epoch,
    leader: () => known,
    [Symbol.asyncDispose]: async () => {
      stop();
      await running;
      lease = undefined;
      // When this fails the lease runs out by itself.
      await redis
        .lane()
        .eval(RESIGN_SCRIPT, 1, keys.leader, self)
        .catch(() => {});
    },
  };
};
