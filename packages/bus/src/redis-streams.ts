import type { RedisLink } from '@muster/kit/redis/channels';
import type { RedisConnections } from '@muster/kit/redis/connection';
import { AppError } from '@muster/protocol/errors';
import { messageHead, parseAttributes } from './envelope.ts';
import { type GroupPosition, parseGroupPosition } from './position.ts';
import type { StreamEntry } from './publication-encoding.ts';
import { createReadCoalescer } from './read-coalescing.ts';
import { groupKeys } from './redis-keys.ts';
import { CLEAR, INVALIDATE_EPOCH, READ, type RedisScript, runScript } from './redis-scripts.ts';
import type { StreamPage, Streams } from './streams.ts';

const TOPS_BATCH = 500;

/** Streams in Redis: one script per operation; all keys of a group are in one slot. */
export const createRedisStreams = (redis: RedisConnections, newEpoch: () => string): Omit<Streams, 'append'> => {
  const coalesce = createReadCoalescer<StreamPage>();
  const keysOf = (group: Parameters<Streams['clear']>[0]) => groupKeys(redis.prefix, group);
  const runRead = (script: RedisScript, keys: readonly string[], args: readonly (string | number)[]) =>
    guarded(() => redis.retry((lane) => runScript(lane, script, keys, args)));

  return {
    top: async (group, retention) => {
      const { stream, meta } = keysOf(group);
      return positionOf(await runRead(READ, [stream, meta], [newEpoch(), retention.metaTtlMs, '-', '+', 0, 0, 0]));
    },
    read: (group, { from, limit, reverse = false, maxBytes = 0, retention }): Promise<StreamPage> => {
      const { stream, meta } = keysOf(group);
      const first = from === undefined || reverse ? '-' : `${from + 1}-0`;
      const last = from === undefined || !reverse ? '+' : `${Math.max(from - 1, 0)}-0`;
      const range = [retention.metaTtlMs, first, last, limit, reverse ? 1 : 0, maxBytes];
      const read = async () => pageOf(await runRead(READ, [stream, meta], [newEpoch(), ...range]));
      return limit <= 1 ? read() : coalesce(`${stream} ${range.join(' ')}`, read);
    },
    tops: async (groups) => {
      const found: (GroupPosition | undefined)[] = [];
      for (let from = 0; from < groups.length; from += TOPS_BATCH) {
        const slice = groups.slice(from, from + TOPS_BATCH);
        const values = await guarded(() =>
          redis.retry((lane) => Promise.all(slice.map(({ group, keepMs }) => topOf(lane, keysOf(group).meta, keepMs)))),
        );
        for (const [offset, epoch] of values) {
          found.push(epoch ? parseGroupPosition(offset ?? '0', epoch) : undefined);
        }
      }
      return found;
    },
    invalidateEpoch: async (group, seen, retention) => {
      const { meta } = keysOf(group);
      return positionOf(
        await runRead(INVALIDATE_EPOCH, [meta], [seen.epoch, seen.offset, newEpoch(), retention.metaTtlMs]),
      );
    },
    clear: async (group) => {
      const { stream, meta, channel } = keysOf(group);
      const head = messageHead({ kind: 'clear', dataAt: 0, dataLength: 0 });
      return positionOf(await runRead(CLEAR, [stream, meta], [redis.channels.publishCommand, channel, head]));
    },
  };
};

/** End of a stream; `keepMs` above 0 extends its lifetime. */
const topOf = async (lane: RedisLink, meta: string, keepMs: number) => {
  const [top] = await Promise.all([lane.hmget(meta, 's', 'e'), keepMs > 0 ? lane.pexpire(meta, keepMs) : undefined]);
  return top;
};

type RawEntry = readonly [id: string, fields: readonly string[]];

const entryOf = ([id, fields]: RawEntry): StreamEntry => {
  const values = new Map<string, string>();
  for (let at = 0; at + 1 < fields.length; at += 2) values.set(String(fields[at]), String(fields[at + 1]));
  return {
    offset: Number.parseInt(id, 10),
    text: values.get('p') ?? '',
    dataLength: Number(values.get('l') ?? 0),
    attributes: parseAttributes(values.get('n') ?? ''),
  };
};

const pageOf = (answer: unknown): StreamPage => {
  const [, , entries, remainingMs] = answer as unknown[];
  return {
    top: positionOf(answer),
    entries: (entries as RawEntry[]).map(entryOf),
    remainingMs: Math.max(0, Number(remainingMs)),
  };
};

const positionOf = (answer: unknown): GroupPosition => {
  const [offset, epoch] = answer as unknown[];
  const position = parseGroupPosition(offset, String(epoch));
  if (position === undefined) throw new Error('Redis returned a stream without an offset');
  return position;
};

/** Maps every fault of Redis and of the connection to REDIS_UNAVAILABLE. */
const guarded = async <T>(work: () => Promise<T>): Promise<T> => {
  try {
    return await work();
  } catch (cause) {
    throw new AppError('REDIS_UNAVAILABLE', { cause });
  }
};
