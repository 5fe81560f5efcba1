import { type Clock, within } from '@muster/kit/clock';
import { readRegistry } from '@muster/kit/fleet/registry';
import type { RedisConnections } from '@muster/kit/redis/connection';
import { script } from './redis-script.ts';
import type { SessionId } from './token.ts';

/** Lifetime of an entry after its last renewal by the gateway. */
const ENTRY_TTL_MS = 150_000;
/** Interval at which a gateway renews its entries; below a third of their lifetime. */
export const PRESENCE_RENEW_MS = 45_000;
const LIVE_GATEWAYS_MS = 2_000;
const DEADLINE_MS = 250;
/** Time within which gateways write all entries again after a loss of Redis data. */
const REBUILD_MS = 5_000;

const keyOf = (prefix: string, id: SessionId): string => `${prefix}on:{${id}}`;

// KEYS the sessions; ARGV gateway, life in ms, number of sockets of each session.
const WRITE = script(`local fault
for at, key in ipairs(KEYS) do
  local count, answer = ARGV[at + 2]
  if count == '0' then answer = redis.pcall('HDEL',key,ARGV[1])
  else
    answer = redis.pcall('HSET',key,ARGV[1],count)
    redis.call('PEXPIRE',key,ARGV[2])
  end
  if type(answer) == 'table' then fault = answer end
end
return fault`);
/** Sessions in one command, which Redis performs without interruption. On a cluster sessions have different slots. */
const MAX_PER_WRITE = 256;

/** Writes the number of connections of sessions at a gateway; 0 removes the entry. Rejects as ioredis does. */
export const writeSessionPresence = async (
  redis: RedisConnections,
  gateway: string,
  counts: readonly (readonly [SessionId, number])[],
): Promise<void> => {
  const width = redis.shards === undefined ? MAX_PER_WRITE : 1;
  const writes = Array.from({ length: Math.ceil(counts.length / width) }, (_, at) => {
    const part = counts.slice(at * width, (at + 1) * width);
    const keys = part.map(([id]) => keyOf(redis.prefix, id));
    return { keys, args: [gateway, ENTRY_TTL_MS, ...part.map(([, count]) => count)] };
  });
  await redis.retry((lane) => Promise.all(writes.map(({ keys, args }) => WRITE(lane, keys, args))));
};

/** Number of connections of sessions in the whole fleet. */
export interface SessionPresence {
  /** In the order of the ids; null for unknown. Never rejects, and resolves within 250 ms. */
  socketsOf(ids: readonly SessionId[]): Promise<(number | null)[]>;
}

interface SessionPresenceDeps {
  readonly redis: RedisConnections;
  readonly clock: Clock;
  /** Name of the fleet whose gateways count. */
  readonly fleet: string;
}

/**
 * Sums the entries of gateways that send heartbeats; those of crashed gateways do not count. A count is unknown while
 * Redis is down, and for five seconds after it lost data.
 */
export const createSessionPresence = ({ redis, clock, fleet }: SessionPresenceDeps): SessionPresence => {
  let gateways: { readonly ids: ReadonlySet<string>; readonly until: number } | undefined;
  const marker = `${redis.prefix}on:since`;

  const liveGateways = async (): Promise<ReadonlySet<string>> => {
    if (gateways !== undefined && clock.monotonic() < gateways.until) return gateways.ids;
    const { beats } = await readRegistry(redis.lane(), redis.prefix, fleet);
    const ids = new Set(beats.map(({ id }) => id));
    gateways = { ids, until: clock.monotonic() + LIVE_GATEWAYS_MS };
    return ids;
  };
  /** True if a missing entry means zero connections; false while gateways rewrite entries that Redis lost. */
  const isComplete = async (): Promise<boolean> => {
    const now = clock.now();
    const since = await redis.lane().get(marker);
    if (since !== null) return now - Number(since) >= REBUILD_MS;
    await redis.lane().set(marker, String(now), 'NX');
    return false;
  };
  const read = async (ids: readonly SessionId[]): Promise<(number | null)[]> => {
    const lane = redis.lane();
    const [live, complete, ...entries] = await Promise.all([
      liveGateways(),
      isComplete(),
      ...ids.map((id) => lane.hgetall(keyOf(redis.prefix, id))),
    ]);
    return entries.map((entry) => {
      const known = Object.entries(entry).filter(([gateway]) => live.has(gateway));
      const sockets = known.reduce((sum, [, count]) => sum + Number(count), 0);
      return sockets === 0 && !complete ? null : sockets;
    });
  };
  // Sets the marker early: with a new Redis the counts are known five seconds later.
  void isComplete().catch(() => {});
  return {
    socketsOf: async (ids) => {
      if (ids.length === 0) return [];
      try {
        return await within(DEADLINE_MS, 'reading the presence of sessions', read(ids));
      } catch {
        return ids.map(() => null);
      }
    },
  };
};
