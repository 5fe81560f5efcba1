import { joinQueries } from '@muster/kit/end-of-turn';
import type { RedisLink } from '@muster/kit/redis/channels';
import type { RedisConnections } from '@muster/kit/redis/connection';
import { AppError } from '@muster/protocol/errors';
import { messageHead, parseAttributes } from './envelope.ts';
import { type GroupPosition, parseGroupPosition } from './position.ts';
import type { StreamEntry } from './publication-encoding.ts';
import { createReadCoalescer } from './read-coalescing.ts';
import { groupKeys } from './redis-keys.ts';
import {
  CLEAR,
  COMPARE_TOPS,
  INVALIDATE_EPOCH,
  READ,
  READ_NEWEST,
  type RedisScript,
  runScript,
} from './redis-scripts.ts';
import type { StreamPage, Streams, TopQuery } from './streams.ts';

const TOPS_BATCH = 500;

/** Streams in Redis: one script per operation; all keys of a group are in one slot. */
export const createRedisStreams = (redis: RedisConnections, newEpoch: () => string): Omit<Streams, 'append'> => {
  const coalesce = createReadCoalescer<StreamPage>();
  const keysOf = (group: Parameters<Streams['clear']>[0]) => groupKeys(redis.prefix, group);
  const runRead = (script: RedisScript, keys: readonly string[], args: readonly (string | number)[]) =>
    guarded(() => redis.retry((lane) => runScript(lane, script, keys, args)));

  return {
    newest:
      redis.shards === undefined
        ? createNewestReads(redis, newEpoch)
        : async (group, retention) => {
            const { stream, meta } = keysOf(group);
            return pageOf(await runRead(READ, [stream, meta], [newEpoch(), retention.metaTtlMs, '-', '+', 1, 1, 0]));
          },
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
        const read = redis.shards === undefined ? compareTops : readTops;
        found.push(...(await guarded(() => redis.retry((lane) => read(lane, redis.prefix, slice)))));
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

/** Groups in one command; bounds the time for which a script blocks Redis. */
const NEWEST_BATCH = 256;

/** Reads the newest publications of all groups that are opened in one turn of the event loop together. */
const createNewestReads = (redis: RedisConnections, newEpoch: () => string): Streams['newest'] => {
  const read = joinQueries(NEWEST_BATCH, (queries: readonly NewestQuery[]) =>
    guarded(async () => {
      const keys = queries.flatMap(({ stream, meta }) => [stream, meta]);
      const args = [newEpoch(), ...queries.map(({ metaTtlMs }) => metaTtlMs)];
      const found = (await redis.retry((lane) => runScript(lane, READ_NEWEST, keys, args))) as NewestAnswer[];
      return found.map(newestPageOf);
    }),
  );
  return async (group, { metaTtlMs }) => {
    const { stream, meta } = groupKeys(redis.prefix, group);
    const page = await read({ stream, meta, metaTtlMs });
    if (page === undefined) throw new AppError('REDIS_UNAVAILABLE', { cause: new Error('the keys are not a stream') });
    return page;
  };
};

interface NewestQuery {
  readonly stream: string;
  readonly meta: string;
  readonly metaTtlMs: number;
}

/** `offset epoch`, or that, the newest entry and the lifetime in ms; '' for a group that cannot be read. */
type NewestAnswer = string | readonly [top: string, entry: RawEntry, lifetimeMs: number];

const newestPageOf = (answer: NewestAnswer): StreamPage | undefined => {
  const [text, entry, lifetimeMs] = typeof answer === 'string' ? [answer] : answer;
  const top = parseTop(text);
  if (top === undefined) return undefined;
  return {
    top,
    entries: entry === undefined ? [] : [entryOf(entry)],
    remainingMs: Math.max(0, lifetimeMs ?? 0),
  };
};

type Tops = (GroupPosition | undefined)[];

/** One command, whose answer contains only what is not as expected: most streams of a position check are. */
const compareTops = async (lane: RedisLink, prefix: string, queries: readonly TopQuery[]): Promise<Tops> => {
  const keys = queries.map(({ group }) => groupKeys(prefix, group).meta);
  const args = queries.flatMap(({ known, keepMs }) => [known ? `${known.offset} ${known.epoch}` : '-', keepMs]);
  const different = (await runScript(lane, COMPARE_TOPS, keys, args)) as unknown[];
  const tops: Tops = queries.map(({ known }) => known);
  for (let at = 0; at + 1 < different.length; at += 2) tops[Number(different[at]) - 1] = parseTop(different[at + 1]);
  return tops;
};

/** On a cluster: one or two commands per stream. */
const readTops = (lane: RedisLink, prefix: string, queries: readonly TopQuery[]): Promise<Tops> =>
  Promise.all(
    queries.map(async ({ group, keepMs }) => {
      const { meta } = groupKeys(prefix, group);
      const extended = keepMs > 0 ? lane.pexpire(meta, keepMs) : undefined;
      const [[offset, epoch]] = await Promise.all([lane.hmget(meta, 's', 'e'), extended]);
      return epoch ? parseGroupPosition(offset ?? '0', epoch) : undefined;
    }),
  );

/** Parses `offset epoch`; undefined for an empty text. */
const parseTop = (text: unknown): GroupPosition | undefined => {
  const [offset, epoch] = String(text).split(' ', 2);
  return epoch === undefined ? undefined : parseGroupPosition(offset, epoch);
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
