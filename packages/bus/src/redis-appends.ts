import { randomInt } from 'node:crypto';
import { type Flushable, flushAtEndOfTurn } from '@muster/kit/end-of-turn';
import type { RedisLink } from '@muster/kit/redis/channels';
import type { RedisConnections } from '@muster/kit/redis/connection';
import { messageAttributes, messageStart } from './envelope.ts';
import type { GroupKey } from './group-key.ts';
import { parseGroupPosition } from './position.ts';
import { dataAtOf, type PublicationDraft } from './publication-encoding.ts';
import { type GroupKeys, groupKeys } from './redis-keys.ts';
import { runInOrder } from './redis-ordered-scripts.ts';
import { appendScript, type RedisScript } from './redis-scripts.ts';
import { type Appended, type AppendOptions, IDEMPOTENCY_TTL_MS, type StreamRetention } from './streams.ts';
import { WriteFault } from './write-fault.ts';

/** Redis executes no other command while a script runs: about a millisecond for as many publications. */
const MAX_PUBLICATIONS = 64;
/** Bytes of their texts; one publication may have more. */
const MAX_BYTES = 131_072;

const ONLY_IF_SUBSCRIBED = 1;
const IDEMPOTENCY_KEY = 2;
const ATTRIBUTES = 4;
const VERSION = 8;

const OUTCOMES: readonly Appended['outcome'][] = ['published', 'repeated', 'outdated', 'no_subscribers'];

/** Redis keeps scripts until it restarts, so their number is bounded. */
const SCRIPT_NUMBERS = 65_536;
let lastNumber = randomInt(SCRIPT_NUMBERS);
/** Unique in a process; equal in two processes once in 65,536 pairs. */
const nextScript = (): RedisScript => {
  lastNumber = (lastNumber + 1) % SCRIPT_NUMBERS;
  return appendScript(lastNumber);
};

interface Append extends Omit<AppendOptions, 'retention'> {
  readonly draft: PublicationDraft;
  resolve(appended: Appended): void;
  reject(error: unknown): void;
}

/** The appends to one group in this turn. */
interface GroupAppends {
  readonly keys: GroupKeys;
  /** The newest one applies. */
  retention: StreamRetention;
  readonly appends: Append[];
}

export interface AppendQueueDeps {
  readonly redis: RedisConnections;
  readonly appender: () => RedisLink;
  readonly newEpoch: () => string;
  /** Called with the number of publications that Redis has answered. */
  onAppended(count: number): void;
}

export type AppendQueue = ReturnType<typeof createAppendQueue>;

/**
 * Appends to streams: the publications of one turn of the event loop are one call of a script, on a cluster one per group. A call is
 * most of the cost of a publication, on both sides. Each publication succeeds or fails on its own; those of a group keep their order.
 */
export const createAppendQueue = ({ redis, appender, newEpoch, onAppended }: AppendQueueDeps) => {
  const script = nextScript();
  const { publishCommand, listenersCommand } = redis.channels;
  let groups = new Map<GroupKey, GroupAppends>();
  let count = 0;
  let bytes = 0;

  const call = (batch: readonly GroupAppends[]): void => {
    const appends = batch.flatMap((group) => group.appends);
    const { keys, args } = parametersOf(batch);
    // No retry on a fault: without an idempotency key a publication could be published twice.
    runInOrder(appender(), script, keys, [newEpoch(), IDEMPOTENCY_TTL_MS, publishCommand, listenersCommand, ...args])
      .then((answer) => settle(appends, String(answer).split('\n')))
      .catch((cause: unknown) => {
        for (const { reject } of appends) reject(new WriteFault(cause));
      });
  };
  const settle = (appends: readonly Append[], lines: readonly string[]): void => {
    onAppended(appends.length);
    for (const [at, { resolve, reject }] of appends.entries()) {
      const appended = appendedIn(lines[at] ?? '');
      if (appended instanceof Error) reject(new WriteFault(appended));
      else resolve(appended);
    }
  };
  const turn: Flushable = {
    flush: () => {
      const batch = [...groups.values()];
      if (batch.length === 0) return;
      groups = new Map();
      count = 0;
      bytes = 0;
      if (redis.shards === undefined) call(batch);
      else for (const group of batch) call([group]);
    },
  };

  return {
    append: (group: GroupKey, draft: PublicationDraft, options: AppendOptions): Promise<Appended> => {
      const { retention, idempotencyKey, version, onlyIfSubscribed } = options;
      if (bytes + draft.open.length > MAX_BYTES) turn.flush();
      if (count === 0) flushAtEndOfTurn('redis_commands', turn);
      let own = groups.get(group);
      if (own === undefined) {
        own = { keys: groupKeys(redis.prefix, group), retention, appends: [] };
        groups.set(group, own);
      }
      own.retention = retention;
      const { promise, resolve, reject } = Promise.withResolvers<Appended>();
      own.appends.push({ draft, idempotencyKey, version, onlyIfSubscribed, resolve, reject });
      count += 1;
      bytes += draft.open.length;
      if (count === MAX_PUBLICATIONS) turn.flush();
      return promise;
    },
    /** Sends the appends to a group now, so that a command that follows does not overtake them. */
    flush: (group: GroupKey): void => {
      if (groups.has(group)) turn.flush();
    },
  };
};

interface Parameters {
  readonly keys: string[];
  readonly args: (string | number)[];
}

const parametersOf = (batch: readonly GroupAppends[]): Parameters => {
  const parameters: Parameters = { keys: [], args: [] };
  for (const { keys: names, retention, appends } of batch) {
    const [{ draft: first }] = appends as [Append];
    parameters.keys.push(names.stream, names.meta);
    parameters.args.push(
      ...[names.channel, messageStart('publication', dataAtOf(first)), first.before],
      ...[retention.size, retention.ttlMs, retention.metaTtlMs, appends.length],
    );
    for (const append of appends) addPublication(parameters, names, append);
  }
  return parameters;
};

const addPublication = (
  { keys, args }: Parameters,
  { result }: GroupKeys,
  { draft, idempotencyKey, version, onlyIfSubscribed }: Append,
): void => {
  const { attributes, dataLength, open } = draft;
  const flagsAt = args.push(onlyIfSubscribed ? ONLY_IF_SUBSCRIBED : 0, dataLength, open) - 3;
  const flag = (bit: number): void => {
    args[flagsAt] = Number(args[flagsAt]) + bit;
  };
  if (idempotencyKey !== undefined) {
    flag(IDEMPOTENCY_KEY);
    keys.push(`${result}${idempotencyKey}`);
  }
  if (attributes.length > 0) {
    flag(ATTRIBUTES);
    args.push(messageAttributes(attributes));
  }
  if (version !== undefined) {
    flag(VERSION);
    args.push(version.number, version.epoch);
  }
};

/** Reads a line of the answer. */
const appendedIn = (line: string): Appended | Error => {
  if (line.startsWith('-')) return rejection(line.slice(1));
  const [offset, epoch = '', outcome] = line.split(' ');
  const position = offset === '' ? undefined : parseGroupPosition(offset, epoch);
  const name = OUTCOMES[Number(outcome)];
  if (position === undefined || name === undefined) return new Error('Redis answered a publication without an offset');
  return { ...position, outcome: name };
};

/** As the client library reports an error of Redis: the command was rejected. */
const rejection = (message: string): Error => Object.assign(new Error(message), { name: 'ReplyError' });
