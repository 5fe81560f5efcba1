import type { RedisLink } from '../redis/channels.ts';
import { type HeartbeatPayload, registryKeys } from './heartbeat.ts';

/** A heartbeat with the time at which Redis received it. */
export interface ReceivedHeartbeat extends HeartbeatPayload {
  /** Redis time in ms since the Unix epoch. */
  readonly beatAt: number;
}

export interface RegistrySnapshot {
  /** Redis time in ms since the Unix epoch; ages are differences to it, so clock skew does not matter. */
  readonly now: number;
  /** Processes whose heartbeat has not expired. */
  readonly beats: readonly ReceivedHeartbeat[];
  /** Every process in the index: one that left is not, one that crashed is, for ten minutes. */
  readonly ids: readonly string[];
}

const FORGET_AFTER_MS = 600_000;
const TIME_SCRIPT = "return redis.call('TIME')";

/** Reads the registry in two round trips. */
export const readRegistry = async (redis: RedisLink, prefix: string, fleet: string): Promise<RegistrySnapshot> => {
  const keys = registryKeys(prefix, fleet);
  // Of the node that stores the heartbeats: other nodes of a cluster may have other clocks.
  const [seconds, micros] = (await redis.eval(TIME_SCRIPT, 1, keys.index)) as [string, string];
  const now = Number(seconds) * 1000 + Math.floor(Number(micros) / 1000);
  const replies = await redis
    .multi()
    .zremrangebyscore(keys.index, '-inf', String(now - FORGET_AFTER_MS))
    .zrange(keys.index, '0', '-1', 'WITHSCORES')
    .exec();
  const [failure, members] = replies?.[1] ?? [new Error('the registry did not answer'), []];
  if (failure) throw failure;
  const scores = pairs(members as string[]);
  if (scores.length === 0) return { now, beats: [], ids: [] };
  const texts = await redis.mget(scores.map(([id]) => keys.beat(id)));
  const beats = scores.flatMap(([, score], at) => {
    const payload = parseBeat(texts[at]);
    return payload === undefined ? [] : [{ ...payload, beatAt: Number(score) }];
  });
  return { now, beats, ids: scores.map(([id]) => id) };
};

/** `[member, score, member, score, …]` → `[[member, score], …]` */
const pairs = (flat: readonly string[]): [string, string][] =>
  Array.from({ length: flat.length / 2 }, (_, at) => [flat[2 * at] as string, flat[2 * at + 1] as string]);

const parseBeat = (text: string | null | undefined): HeartbeatPayload | undefined => {
  if (!text) return undefined;
  try {
    return JSON.parse(text) as HeartbeatPayload;
  } catch {
    return undefined; // Written by another program.
  }
};
