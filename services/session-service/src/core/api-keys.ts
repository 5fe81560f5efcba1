import { hash as hashOf, timingSafeEqual } from 'node:crypto';
import type { Clock } from '@muster/kit/clock';
import type { Logger } from '@muster/kit/logger';
import type { Random } from '@muster/kit/runtime';
import { AppError } from '@muster/protocol/errors';
import type { Actor, Idempotency } from './ports.ts';
import type { DerivedKeys } from './signing-keys.ts';

/** The permissions of an API key. */
export const SCOPES = [
  'sessions:create',
  'sessions:read',
  'sessions:write',
  'sessions:end',
  'sessions:check',
  'sessions:search',
  'sessions:admin',
  'sessions:impersonate',
  'events:read',
  'keys:admin',
  'privacy',
  'ops',
] as const;
export type Scope = (typeof SCOPES)[number];

/** An API key without its secret. Times in ms since the epoch. */
export interface ApiKey {
  readonly id: string;
  readonly name: string;
  readonly scopes: readonly Scope[];
  /** Null: all tenants. */
  readonly tenant: string | null;
  /** Groups, or prefixes ending in `*`, that grants of this key may name. Null: all. */
  readonly groups: readonly string[] | null;
  readonly createdAt: number;
  readonly lastUsedAt: number | null;
  readonly revokedAt: number | null;
}

/** The author and the reason of a change, for the audit log. */
export interface KeyChange {
  readonly actor: Actor;
  readonly reason: string | undefined;
}

/** Statements on API keys. */
export interface KeyStore {
  /** Undefined when a key with that hash exists. */
  insert(key: KeyHolder & Pick<ApiKey, 'name'>, hash: Buffer, by: KeyChange): Promise<ApiKey | undefined>;
  findByHashes(hashes: readonly Buffer[]): Promise<{ readonly hash: Buffer; readonly key: ApiKey }[]>;
  list(tenant: string | null): Promise<ApiKey[]>;
  /** False when there is no active key with this id. */
  revoke(id: string, tenant: string | null, by: KeyChange): Promise<boolean>;
  used(id: string): Promise<void>;
}

/** The permissions of a caller with an API key. */
export type KeyHolder = Pick<ApiKey, 'id' | 'scopes' | 'tenant' | 'groups'>;

type NewApiKey = Pick<ApiKey, 'name' | 'scopes' | 'tenant' | 'groups'>;

type CreatedApiKey =
  | { readonly ok: true; readonly key: string; readonly made: ApiKey; readonly isReplay: boolean }
  /** The idempotency key belongs to another request, or to an API key that was revoked. */
  | { readonly ok: false; readonly why: 'key_reused' | 'revoked' };

/** Verifies, creates and revokes API keys. */
export type ApiKeys = ReturnType<typeof createApiKeys>;

interface ApiKeysDeps {
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Logger;
  readonly store: KeyStore;
  readonly keys: DerivedKeys;
  /** Keys of the configuration; they have every scope. */
  readonly given: readonly string[];
}

/** A cached key; times in monotonic ms. */
interface CachedKey {
  readonly holder: KeyHolder;
  readonly readAt: number;
  readonly recordedAt: number;
}

const FORMAT = /^sk_[A-Za-z0-9_-]{43}$/;
const KEY_BYTES = 32;
/** Life of a cached key: within this time every replica refuses a revoked key. */
const CACHE_MS = 200;
/** Life of a cached key while Postgres is unavailable. */
const CACHE_STALE_MS = 4_000;
/** Least time between two writes of `last_used_at` of a key. */
const RECORD_INTERVAL_MS = 10_000;
/** Unknown keys of throttled addresses that may wait for the next statement. */
const MAX_WAITING = 500;
const MAX_CACHED = 1000;

/** API keys of the configuration and of the database. */
export const createApiKeys = (deps: ApiKeysDeps) => {
  const { clock, random, store, given } = deps;
  const givenHashes = given.map(sha256);
  const cache = new Map<string, CachedKey>();
  /** Look-ups in progress, shared by all requests with the same key. */
  const lookUps = new Map<string, Promise<KeyHolder | undefined>>();

  const batch = createBatch(store);

  const holderInMemory = (hash: Buffer): KeyHolder | undefined => {
    const at = indexOfHash(givenHashes, hash);
    if (at >= 0) return { id: String(at), scopes: SCOPES, tenant: null, groups: null };
    const cached = cache.get(nameOf(hash));
    return cached && clock.monotonic() - cached.readAt < CACHE_MS ? cached.holder : undefined;
  };
  const findHolder = (hash: Buffer, isThrottled: boolean): Promise<KeyHolder | undefined> => {
    const name = nameOf(hash);
    const before = cache.get(name);
    const lookUp = lookUps.get(name) ?? read(hash, before, isThrottled).finally(() => lookUps.delete(name));
    lookUps.set(name, lookUp);
    return lookUp;
  };
  const read = async (
    hash: Buffer,
    before: CachedKey | undefined,
    isThrottled: boolean,
  ): Promise<KeyHolder | undefined> => {
    const name = nameOf(hash);
    const readAt = clock.monotonic();
    try {
      // A key that was valid before does not queue behind unknown keys.
      const mustQueue = isThrottled && before === undefined;
      const found = mustQueue ? await batch(hash) : await findOne(store, hash);
      if (found === undefined || found.revokedAt !== null) {
        cache.delete(name);
        return undefined;
      }
      const recordedAt = recordUse(found.id, before?.recordedAt, readAt);
      remember(name, { holder: found, readAt, recordedAt });
      return found;
    } catch (error) {
      if (before && readAt - before.readAt < CACHE_STALE_MS) return before.holder;
      throw error;
    }
  };
  const remember = (name: string, key: CachedKey): void => {
    if (cache.size >= MAX_CACHED && !cache.has(name)) cache.clear();
    cache.set(name, key);
  };
  const recordUse = (id: string, recordedAt: number | undefined, now: number): number => {
    if (recordedAt !== undefined && now - recordedAt < RECORD_INTERVAL_MS) return recordedAt;
    store.used(id).catch((error: unknown) => deps.log.debug({ error }, 'api_key.touch_failed'));
    return now;
  };

  return {
    /**
     * The holder of a key; undefined for an unknown or revoked one. Reads a key from Postgres at most five times a
     * second. Unknown keys of throttled addresses share one statement at a time; rejects with `OVERLOADED` when more
     * than 500 of them wait.
     */
    holderOf: async (key: string, isThrottled = false): Promise<KeyHolder | undefined> => {
      const hash = sha256(key);
      const known = holderInMemory(hash);
      // Text of another format is refused without a look-up.
      return known === undefined && FORMAT.test(key) ? findHolder(hash, isThrottled) : known;
    },
    /** The holder of a key that needs no look-up: one of the configuration, or one that was read within the last 200 ms. */
    holderInMemory: (key: string): KeyHolder | undefined => holderInMemory(sha256(key)),
    /** Creates a key. Its secret is returned once, and to repeats under the same idempotency key. */
    create: async (wanted: NewApiKey, by: KeyChange, idempotency?: Idempotency): Promise<CreatedApiKey> => {
      if (idempotency !== undefined) return createOnce(deps, wanted, by, idempotency);
      const key = keyOf(random.bytes(KEY_BYTES));
      const made = await store.insert({ ...wanted, id: crypto.randomUUID() }, sha256(key), by);
      if (made === undefined) throw new Error('a random API key exists already');
      return { ok: true, key, made, isReplay: false };
    },
    list: store.list,
    /** False when there is no active key with this id. */
    revoke: async (id: string, tenant: string | null, by: KeyChange): Promise<boolean> => {
      const isRevoked = await store.revoke(id, tenant, by);
      for (const [name, { holder }] of cache) if (holder.id === id) cache.delete(name);
      return isRevoked;
    },
  };
};

const keyOf = (bytes: Uint8Array): string => `sk_${Buffer.from(bytes).toString('base64url')}`;

/**
 * Derives the API key from the idempotency key: a repeat finds the key of the first request, and no secret is stored.
 * Every listed signing key is tried, because the first request may have come before a key was replaced.
 */
const createOnce = async (
  { store, keys }: ApiKeysDeps,
  wanted: NewApiKey,
  by: KeyChange,
  { caller, key }: Idempotency,
): Promise<CreatedApiKey> => {
  const secrets = keys.macs('idempotency', `api-key\n${caller}\n${key}`).map(keyOf);
  const replayed = async (secret: string): Promise<CreatedApiKey | undefined> => {
    const before = await findOne(store, sha256(secret));
    if (before === undefined) return undefined;
    if (!isSame(before, wanted)) return { ok: false, why: 'key_reused' };
    if (before.revokedAt !== null) return { ok: false, why: 'revoked' };
    return { ok: true, key: secret, made: before, isReplay: true };
  };
  for (const secret of secrets) {
    const before = await replayed(secret);
    if (before !== undefined) return before;
  }
  const [secret = ''] = secrets;
  const made = await store.insert({ ...wanted, id: crypto.randomUUID() }, sha256(secret), by);
  if (made !== undefined) return { ok: true, key: secret, made, isReplay: false };
  // A concurrent request with the same key was faster; its API key is committed now.
  const before = await replayed(secret);
  if (before === undefined) throw new Error('an API key that conflicted was deleted');
  return before;
};

const isSame = (made: ApiKey, wanted: NewApiKey): boolean =>
  made.name === wanted.name &&
  made.tenant === wanted.tenant &&
  made.scopes.join() === wanted.scopes.join() &&
  JSON.stringify(made.groups) === JSON.stringify(wanted.groups);

type Finder = Pick<KeyStore, 'findByHashes'>;

const findOne = async (store: Finder, hash: Buffer): Promise<ApiKey | undefined> =>
  (await store.findByHashes([hash]))[0]?.key;

/** Reads all waiting hashes in one statement, one statement at a time. */
const createBatch = (store: Finder) => {
  let waiting: Buffer[] = [];
  let next: Promise<ReadonlyMap<string, ApiKey>> | undefined;
  let last: Promise<unknown> = Promise.resolve();
  const readAll = async (): Promise<ReadonlyMap<string, ApiKey>> => {
    const hashes = waiting;
    waiting = [];
    next = undefined;
    const found = await store.findByHashes(hashes);
    return new Map(found.map(({ hash, key }) => [nameOf(hash), key]));
  };
  return async (hash: Buffer): Promise<ApiKey | undefined> => {
    if (waiting.length >= MAX_WAITING) throw new AppError('OVERLOADED', { retryAfterS: 1 });
    waiting.push(hash);
    if (next === undefined) {
      next = last.then(readAll);
      last = next.catch(() => {});
    }
    return (await next).get(nameOf(hash));
  };
};

const nameOf = (hash: Buffer): string => hash.toString('base64');

const sha256 = (text: string): Buffer => hashOf('sha256', text, 'buffer');

/** The index of a hash in a list, or -1; constant time for every wrong hash. */
const indexOfHash = (hashes: readonly Buffer[], wanted: Buffer): number =>
  hashes.reduce((found, hash, at) => (timingSafeEqual(hash, wanted) ? at : found), -1);

/** The index of a key in a list, or -1; constant time for every wrong key. */
export const indexOfKey = (keys: readonly string[], given: string): number =>
  indexOfHash(keys.map(sha256), sha256(given));
