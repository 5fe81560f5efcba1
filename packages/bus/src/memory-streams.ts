import type { BusMessage } from './envelope.ts';
import type { GroupKey } from './group-key.ts';
import { messageOfEntry, publicationAt, type StreamEntry } from './publication-encoding.ts';
import type { Appended, Streams } from './streams.ts';

interface MemoryStream {
  epoch: string;
  top: number;
  entries: StreamEntry[];
  /** Expiry of the entries, on the clock of the broker. */
  expiresAt: number;
  version: { number: number; epoch: string } | undefined;
  readonly results: Map<string, Appended>;
}

/** Streams of a memory broker. Each operation is atomic, as a script of Redis is. */
export interface MemoryStreams extends Streams {
  /** Fault injection: loses everything, as FLUSHALL does. */
  flush(): void;
  /** Fault injection: loses the newest publications of a group, as a failover may. */
  lose(group: GroupKey, count: number): void;
}

export const createMemoryStreams = (options: {
  /** Throws when the broker is stopped. */
  requireUp(): void;
  deliver(group: GroupKey, message: BusMessage): void;
  /** True when a replica subscribes to the group. */
  isSubscribed(group: GroupKey): boolean;
  /** Clock of the expiry, in ms. */
  now(): number;
}): MemoryStreams => {
  const { streams, streamOf, newEpoch } = createStreamTable(options);
  const pageOf = (group: GroupKey, entries: readonly StreamEntry[]) => {
    const stream = streamOf(group);
    const remainingMs = stream.entries.length === 0 ? 0 : stream.expiresAt - options.now();
    return { top: topOf(stream), entries, remainingMs };
  };

  return {
    append: async (group, draft, { retention, idempotencyKey, version, onlyIfSubscribed }) => {
      options.requireUp();
      if (onlyIfSubscribed && !streams.has(group) && !options.isSubscribed(group)) {
        return { offset: 0, epoch: '', outcome: 'no_subscribers' };
      }
      const stream = streamOf(group);
      const known = idempotencyKey === undefined ? undefined : stream.results.get(idempotencyKey);
      if (known !== undefined) return { ...known, outcome: 'repeated' };
      if (isOutdated(stream.version, version)) return { ...topOf(stream), outcome: 'outdated' };
      stream.version = version ?? stream.version;
      stream.top += 1;
      const { dataLength, attributes } = draft;
      const entry = { offset: stream.top, text: publicationAt(draft, topOf(stream)), dataLength, attributes };
      stream.entries = [...stream.entries, entry].slice(-retention.size);
      stream.expiresAt = options.now() + retention.ttlMs;
      options.deliver(group, messageOfEntry(group, entry, stream.epoch));
      const appended: Appended = { ...topOf(stream), outcome: 'published' };
      if (idempotencyKey !== undefined) stream.results.set(idempotencyKey, appended);
      return appended;
    },
    top: async (group) => {
      options.requireUp();
      return topOf(streamOf(group));
    },
    read: async (group, { from, limit, reverse = false, maxBytes }) => {
      options.requireUp();
      const { entries } = streamOf(group);
      return pageOf(group, within(inOrder(entries, from, reverse).slice(0, limit), maxBytes));
    },
    newest: async (group) => {
      options.requireUp();
      return pageOf(group, streamOf(group).entries.slice(-1));
    },
    tops: async (groups) => {
      options.requireUp();
      return groups.map(({ group }) => {
        const stream = streams.get(group);
        return stream && topOf(stream);
      });
    },
    invalidateEpoch: async (group, seen) => {
      options.requireUp();
      const stream = streamOf(group);
      if (stream.epoch === seen.epoch && stream.top < seen.offset) stream.epoch = newEpoch();
      return topOf(stream);
    },
    clear: async (group) => {
      options.requireUp();
      const stream = streamOf(group);
      stream.entries = [];
      if (stream.top > 0) options.deliver(group, { ...CLEAR, ...topOf(stream) });
      return topOf(stream);
    },
    flush: () => streams.clear(),
    lose: (group, count) => {
      const stream = streamOf(group);
      stream.top -= count;
      stream.entries = stream.entries.filter(({ offset }) => offset <= stream.top);
    },
  };
};

const topOf = ({ top, epoch }: MemoryStream) => ({ offset: top, epoch });

const createStreamTable = ({ now }: { now(): number }) => {
  const streams = new Map<GroupKey, MemoryStream>();
  let epochs = 0;
  const newEpoch = (): string => `e${++epochs}`;
  return {
    streams,
    newEpoch,
    /** An unknown stream gets an epoch. */
    streamOf: (group: GroupKey): MemoryStream => {
      let stream = streams.get(group);
      if (stream === undefined) {
        stream = { ...EMPTY, epoch: newEpoch(), entries: [], results: new Map() };
        streams.set(group, stream);
      }
      if (now() >= stream.expiresAt) stream.entries = [];
      return stream;
    },
  };
};

const CLEAR = { kind: 'clear', body: Buffer.alloc(0), dataAt: 0, dataLength: 0, attributes: [] } as const;
const EMPTY = { top: 0, expiresAt: Number.POSITIVE_INFINITY, version: undefined };

const inOrder = (entries: readonly StreamEntry[], from: number | undefined, reverse: boolean): StreamEntry[] => {
  const inRange = ({ offset }: StreamEntry) => from === undefined || (reverse ? offset < from : offset > from);
  return (reverse ? entries.toReversed() : entries).filter(inRange);
};

/** Entries up to a total of `maxBytes`, and the first in any case. */
const within = (entries: readonly StreamEntry[], maxBytes = Number.POSITIVE_INFINITY): readonly StreamEntry[] => {
  let bytes = 0;
  const end = entries.findIndex(({ text }, index) => {
    bytes += Buffer.byteLength(text);
    return index > 0 && bytes > maxBytes;
  });
  return end < 0 ? entries : entries.slice(0, end);
};

const isOutdated = (
  known: { number: number; epoch: string } | undefined,
  given: { number: number; epoch: string } | undefined,
): boolean =>
  known !== undefined &&
  given !== undefined &&
  known.number >= given.number &&
  (given.epoch === '' || given.epoch === known.epoch);
