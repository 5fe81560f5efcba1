import { type Clock, systemClock, within } from '@muster/kit/clock';
import { joinQueries } from '@muster/kit/end-of-turn';
import type { RedisConnections } from '@muster/kit/redis/connection';
import { DEFAULT_TENANT } from '@muster/protocol/ids';
import type { SessionGrant } from './grants.ts';
import { script } from './redis-script.ts';
import { parseSessionId, type SessionId } from './token.ts';

/** State of a live session for checks. Times in ms since the epoch, hashes in base64url. */
export interface Snapshot {
  readonly id: SessionId;
  readonly tenant: string;
  readonly userId: string | null;
  readonly kind: 'user' | 'guest' | 'service';
  /** SHA-256 of the secret. */
  readonly secretHash: string;
  /** SHA-256 of the secret before the last rotation, accepted until `prevUntil`. */
  readonly prevHash?: string;
  readonly prevUntil?: number;
  /** Grows with every change of the session; the newer revision wins. */
  readonly rev: number;
  readonly aal: number;
  readonly label: string | null;
  readonly createdAt: number;
  readonly expiresAt: number;
  /** Idle limit in seconds; 0 for none. */
  readonly idleSeconds: number;
  readonly lastSeenAt: number;
  /** Instant after which the source must be queried again. */
  readonly freshUntil: number;
  /** Omitted above 2 KiB. */
  readonly data?: Readonly<Record<string, unknown>>;
  readonly grants?: readonly SessionGrant[];
  /** For listings; checks do not need it. */
  readonly about?: SessionAbout;
}

/** Descriptive part of a session. */
export interface SessionAbout {
  readonly client: {
    readonly kind: string;
    readonly summary: string | null;
    readonly userAgent: string | null;
    readonly deviceId: string | null;
  };
  readonly ip: string | null;
  readonly lastIp: string | null;
  readonly country: string | null;
  readonly auth: {
    readonly time: number | null;
    readonly amr: readonly string[];
    readonly idp: string | null;
  };
  readonly actor: { readonly id: string; readonly reason: string | null } | null;
  /** True if the cookie may outlive the browser. */
  readonly remember: boolean;
}

/** Value of a session in Redis. `missing` includes values that cannot be decoded: query the source. */
export type SnapshotRead =
  | { readonly is: 'live'; readonly snapshot: Snapshot }
  /** `tenant` is omitted for `default`. */
  | { readonly is: 'ended'; readonly reason: string; readonly tenant?: string }
  | { readonly is: 'missing' };

/** Result of a write; the newer revision wins. */
export type Stored = { readonly ok: true } | { readonly ok: false; readonly newer: SnapshotRead };

/** Snapshots of all sessions, one key each; an ended session has a tombstone for 15 minutes. */
export interface SnapshotStore {
  /** The reads of one turn of the event loop are one command, with one timeout. */
  read(id: SessionId): Promise<SnapshotRead>;
  /** One round trip for all ids, in their order. */
  readMany(ids: readonly SessionId[]): Promise<SnapshotRead[]>;
  /** Not stored over the same or a newer revision, live or ended. */
  put(snapshot: Snapshot): Promise<Stored>;
  /** Renews an unchanged revision (a later `freshUntil`); never touches a tombstone. True if stored. */
  refresh(snapshot: Snapshot): Promise<boolean>;
  /** Stores a tombstone over the same or an older revision. False if a newer revision is stored. */
  tomb(id: SessionId, rev: number, reason: string, tenant?: string): Promise<boolean>;
  /** Marks an id without a session for 30 s. Any `put` or `tomb` replaces the marker. */
  putUnknown(id: SessionId): Promise<void>;
}

/** Lifetime of a tombstone in ms; far longer than any request that could still store a snapshot. */
export const TOMBSTONE_TTL_MS = 15 * 60_000;
/** Largest `data` of a snapshot, in bytes. */
export const MAX_SNAPSHOT_DATA_BYTES = 2048;

const UNKNOWN_MS = 30_000;
const LONGEST_MS = 24 * 3_600_000;
const UNKNOWN = '!0|unknown';

const PUT = script(`local c=redis.call('GET',KEYS[1])
if c and (tonumber(string.match(c,'^!?(%d+)|')) or 0) >= tonumber(ARGV[1]) then return c end
redis.call('SET',KEYS[1],ARGV[1]..'|'..ARGV[2],'PX',ARGV[3]); return nil`);
const TOMB = script(`local c=redis.call('GET',KEYS[1])
if c and (tonumber(string.match(c,'^!?(%d+)|')) or 0) > tonumber(ARGV[1]) then return 0 end
redis.call('SET',KEYS[1],'!'..ARGV[1]..'|'..ARGV[2],'PX',ARGV[3]); return 1`);
const FRESH = script(`local c=redis.call('GET',KEYS[1])
if not c or string.sub(c,1,1)=='!' or tonumber(string.match(c,'^(%d+)|'))~=tonumber(ARGV[1]) then return 0 end
redis.call('SET',KEYS[1],ARGV[1]..'|'..ARGV[2],'PX',ARGV[3]); return 1`);
// Replaces a value that cannot be decoded only if it is unchanged since it was read.
const SWAP = script(`if redis.call('GET',KEYS[1])~=ARGV[1] then return 0 end
redis.call('SET',KEYS[1],ARGV[2],'PX',ARGV[3]); return 1`);

export interface SnapshotStoreDeps {
  readonly redis: RedisConnections;
  readonly clock?: Clock;
  /** Timeout of {@link SnapshotStore.read} in ms; undefined: that of the command. */
  readonly readTimeoutMs?: number;
}

/** Snapshots in Redis under `<prefix>s:{<id>}`. Rejects as ioredis does, and `read` with a `TimeoutError`. */
export const createSnapshotStore = ({
  redis,
  clock = systemClock,
  readTimeoutMs,
}: SnapshotStoreDeps): SnapshotStore => {
  const keyOf = (id: SessionId): string => `${redis.prefix}s:{${id}}`;
  const readValues = valueReader(redis);
  // Thousands of clients that connect at once cost one command and one timer per batch.
  const readInTurn = joinQueries(MAX_KEYS_PER_READ, (keys: readonly string[]) => {
    const reading = readValues(keys);
    return readTimeoutMs === undefined ? reading : within(readTimeoutMs, 'reading sessions', reading);
  });

  const put = async (snapshot: Snapshot): Promise<Stored> => {
    const key = keyOf(snapshot.id);
    const json = JSON.stringify(snapshot);
    const life = lifeOf(snapshot, clock.now());
    const found = await redis.retry((lane) => healed(lane, key, () => PUT(lane, [key], [snapshot.rev, json, life])));
    if (typeof found !== 'string') return { ok: true };
    const newer = decodeSnapshot(found);
    if (newer.is !== 'missing') return { ok: false, newer };
    await redis.retry((lane) => SWAP(lane, [key], [found, `${snapshot.rev}|${json}`, life]));
    return { ok: true };
  };

  return {
    put,
    read: (id) => readInTurn(keyOf(id)).then((value) => decodeSnapshot(value, id)),
    readMany: async (ids) => {
      if (ids.length === 0) return [];
      const values = await readValues(ids.map(keyOf));
      return ids.map((id, index) => decodeSnapshot(values[index], id));
    },
    refresh: async (snapshot) => {
      const key = keyOf(snapshot.id);
      const args = [snapshot.rev, JSON.stringify(snapshot), lifeOf(snapshot, clock.now())];
      return (await redis.retry((lane) => FRESH(lane, [key], args))) === 1;
    },
    tomb: async (id, rev, reason, tenant = DEFAULT_TENANT) => {
      const key = keyOf(id);
      // Earlier versions read the rest of the value as the reason, so the default tenant is omitted.
      const text = tenant === DEFAULT_TENANT ? reason : `${reason}|${tenant}`;
      const done = await redis.retry((lane) =>
        healed(lane, key, () => TOMB(lane, [key], [rev, text, TOMBSTONE_TTL_MS])),
      );
      return done === 1;
    },
    putUnknown: async (id) => {
      await redis.retry((lane) => lane.set(keyOf(id), UNKNOWN, 'PX', UNKNOWN_MS, 'NX'));
    },
  };
};

type StoredValues = readonly (string | null)[];

/** Reads values by key in one round trip; null for a key of another type. On a cluster the keys have different slots. */
const valueReader = (redis: RedisConnections): ((keys: readonly string[]) => Promise<StoredValues>) =>
  redis.shards === undefined
    ? (keys) => redis.retry((lane) => lane.mget(...keys))
    : (keys) => redis.retry((lane) => Promise.all(keys.map((key) => ignoringWrongType(lane.get(key)))));

/** Keys of one command, which Redis performs without interruption. */
const MAX_KEYS_PER_READ = 256;

const HEAD = /^!?\d+\|/;

/** Decodes a stored value; `missing` for a value that cannot be decoded. Never throws. */
export const decodeSnapshot = (value: string | null | undefined, id?: SessionId): SnapshotRead => {
  if (value === null || value === undefined || !HEAD.test(value)) return MISSING;
  const text = value.slice(value.indexOf('|') + 1);
  if (value.startsWith('!')) return tombstoneIn(text);
  try {
    const snapshot: unknown = JSON.parse(text);
    return isSnapshot(snapshot, id) ? { is: 'live', snapshot } : MISSING;
  } catch {
    return MISSING;
  }
};

const MISSING: SnapshotRead = { is: 'missing' };

const tombstoneIn = (text: string): SnapshotRead => {
  const [reason = '', tenant] = text.split('|', 2);
  return { is: 'ended', reason, ...(tenant === undefined ? {} : { tenant }) };
};

const isSnapshot = (value: unknown, expectedId: SessionId | undefined): value is Snapshot => {
  if (typeof value !== 'object' || value === null) return false;
  const { id, rev, secretHash, expiresAt, idleSeconds, lastSeenAt, freshUntil } = value as Partial<Snapshot>;
  return (
    (expectedId === undefined ? typeof id === 'string' && parseSessionId(id) !== undefined : id === expectedId) &&
    typeof secretHash === 'string' &&
    Number.isFinite(rev) &&
    Number.isFinite(expiresAt) &&
    Number.isFinite(idleSeconds) &&
    Number.isFinite(lastSeenAt) &&
    Number.isFinite(freshUntil)
  );
};

/** Remaining lifetime of the session, at most a day, minus up to 10 % by id so that keys do not expire together. */
const lifeOf = (snapshot: Snapshot, now: number): number => {
  const left = Math.min(snapshot.expiresAt - now, LONGEST_MS);
  const jitter = Number.parseInt(snapshot.id.slice(0, 8), 16) / 0xffff_ffff;
  return Math.max(1, Math.ceil(left * (1 - jitter / 10)));
};

const isWrongType = (error: unknown): boolean => error instanceof Error && error.message.includes('WRONGTYPE');

const ignoringWrongType = async (reading: Promise<string | null>): Promise<string | null> => {
  try {
    return await reading;
  } catch (error) {
    if (isWrongType(error)) return null;
    throw error;
  }
};

/** Repeats a write after deleting a key of another type. */
const healed = async (
  client: { del(key: string): Promise<unknown> },
  key: string,
  write: () => Promise<unknown>,
): Promise<unknown> => {
  try {
    return await write();
  } catch (error) {
    if (!isWrongType(error)) throw error;
    await client.del(key);
    return write();
  }
};
