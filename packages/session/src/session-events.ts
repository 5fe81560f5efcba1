import type { RedisConnections } from '@muster/kit/redis/connection';
import { script } from './redis-script.ts';
import { parseSessionId, type SessionId } from './token.ts';

/** Change of sessions as replicas exchange it. `at` in ms since the epoch. */
export type SessionChange =
  | { readonly k: 'end'; readonly ids: readonly SessionId[]; readonly why: string; readonly at: number }
  /** New secret; `why` distinguishes a rotation from a change of privileges. */
  | { readonly k: 'rot'; readonly ids: readonly SessionId[]; readonly why: string; readonly at: number }
  | { readonly k: 'upd'; readonly ids: readonly SessionId[]; readonly at: number };

/** Ids per message; senders split longer lists. */
export const MAX_IDS_PER_CHANGE = 500;
/** Approximate number of entries in the change log. */
export const CHANGE_LOG_LENGTH = 100_000;

/** Redis names of the session bus; `{bus}` puts them in one cluster slot. */
export const busKeys = (prefix: string) => ({
  log: `${prefix}{bus}log`,
  channel: `${prefix}{bus}ch`,
  epoch: `${prefix}{bus}epoch`,
});

const EMIT = script(`local l=redis.call('XREVRANGE',KEYS[1],'+','-','COUNT',1); local p=l[1] and l[1][1] or '0-0'
local id=redis.call('XADD',KEYS[1],'MAXLEN','~',ARGV[3],'*','m',ARGV[2])
redis.call(ARGV[4],ARGV[1],p..' '..id..' '..ARGV[2]); return id`);

// KEYS log, epoch; ARGV channel, epoch to set if there is none, now, publish command. Answers the epoch and whether it is new.
const HEARTBEAT = script(`local made=redis.call('SET',KEYS[2],ARGV[2],'NX')
local e=redis.call('GET',KEYS[2])
local l=redis.call('XREVRANGE',KEYS[1],'+','-','COUNT',1); local p=l[1] and l[1][1] or '0-0'
redis.call(ARGV[4],ARGV[1],p..' '..p..' '..cjson.encode({k='hb',e=e,at=tonumber(ARGV[3])}))
return {e, made and 1 or 0, p}`);

/** Appends a change to the log and publishes it atomically; resolves with its stream id. */
export const emitSessionChange = async (
  { redis }: { redis: RedisConnections },
  change: SessionChange,
): Promise<string> => {
  const keys = busKeys(redis.prefix);
  const payload = JSON.stringify(change);
  const id = await redis.retry((lane) =>
    EMIT(lane, [keys.log], [keys.channel, payload, CHANGE_LOG_LENGTH, redis.channels.publishCommand]),
  );
  return String(id);
};

/**
 * Publishes the end of the log and the bus epoch, by which subscribers detect a lost message within a second.
 * `isNew`: Redis had no epoch, because it was flushed or is used for the first time.
 */
export const emitSessionBusHeartbeat = async (
  { redis }: { redis: RedisConnections },
  candidate: string,
  now: number,
): Promise<{ epoch: string; isNew: boolean; top: string }> => {
  const keys = busKeys(redis.prefix);
  const answer = await redis.retry((lane) =>
    HEARTBEAT(lane, [keys.log, keys.epoch], [keys.channel, candidate, Math.trunc(now), redis.channels.publishCommand]),
  );
  const [epoch, made, top] = Array.isArray(answer) ? answer : [];
  return { epoch: String(epoch), isNew: made === 1, top: String(top) };
};

/** Message of the bus: the preceding stream id, its own and its content. */
export interface SessionBusMessage {
  readonly previous: string;
  readonly id: string;
  readonly content:
    | { readonly is: 'change'; readonly change: SessionChange }
    | { readonly is: 'heartbeat'; readonly epoch: string }
    /** Kind of a later version. */
    | { readonly is: 'unknown' };
}

/** Parses `previous id payload`; undefined for a malformed message. Never throws. */
export const parseBusMessage = (text: string): SessionBusMessage | undefined => {
  const parts = /^(\d+-\d+) (\d+-\d+) ([\s\S]+)$/.exec(text);
  const [, previous, id, payload] = parts ?? [];
  if (previous === undefined || id === undefined || payload === undefined) return undefined;
  const content = parsePayload(payload);
  return content && { previous, id, content };
};

/** Parses the payload of an entry or message; undefined when it is not a JSON object with a kind. */
export const parsePayload = (payload: string): SessionBusMessage['content'] | undefined => {
  let value: unknown;
  try {
    value = JSON.parse(payload);
  } catch {
    return undefined;
  }
  if (typeof value !== 'object' || value === null) return undefined;
  const { k, e, ids, why, at } = value as Record<string, unknown>;
  if (k === 'hb') return typeof e === 'string' ? { is: 'heartbeat', epoch: e } : undefined;
  if (k !== 'end' && k !== 'rot' && k !== 'upd') {
    return typeof k === 'string' ? { is: 'unknown' } : undefined;
  }
  if (!Array.isArray(ids)) return undefined;
  const known = ids.filter((id): id is SessionId => typeof id === 'string' && parseSessionId(id) !== undefined);
  return {
    is: 'change',
    change: {
      k,
      ids: known,
      why: typeof why === 'string' ? why : 'unknown',
      at: typeof at === 'number' ? at : 0,
    },
  };
};

/** Orders two stream ids; negative when `a` is older. */
export const compareStreamIds = (a: string, b: string): number => {
  const [aMs = 0, aSeq = 0] = a.split('-').map(Number);
  const [bMs = 0, bSeq = 0] = b.split('-').map(Number);
  return aMs - bMs || aSeq - bSeq;
};
