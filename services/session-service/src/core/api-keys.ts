import { createHash, timingSafeEqual } from 'node:crypto';
import type { Clock } from '@muster/kit/clock';
import type { Logger } from '@muster/kit/logger';
import type { Random } from '@muster/kit/random';
import { AppError } from '@muster/protocol/errors';
import type { Actor, Idempotency } from './ports.ts';
import type { DerivedKeys } from './signing-keys.ts';

/** What an API key may be allowed to do. */
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

/** An API key as it is kept: without the key. Times in ms since the epoch. */
export interface ApiKey {
  readonly id: string;
  readonly name: string;
  readonly scopes: readonly Scope[];
  /** Null: every tenant. */
  readonly tenant: string | null;
  /** Groups, or prefixes ending in `*`, that grants by this key may name. Null: all. */
  readonly groups: readonly string[] | null;
  readonly createdAt: number;
  readonly lastUsedAt: number | null;
  readonly revokedAt: number | null;
}

/** Who makes or revokes a key, and why, for the log book. */
export interface KeyChange {
  readonly actor: Actor;
  readonly reason: string | undefined;
}

/** A key with the hash that it was found by. */
export interface FoundKey {
  readonly hash: Buffer;
  readonly key: ApiKey;
}

/** API keys in Postgres. */
export interface KeyStore {
  /** Undefined when there is a key with that hash. */
  insert(
    key: Pick<ApiKey, 'id' | 'name' | 'scopes' | 'tenant' | 'groups'>,
    hash: Buffer,
    by: KeyChange,
  ): Promise<ApiKey | undefined>;
  findByHashes(hashes: readonly Buffer[]): Promise<FoundKey[]>;
  list(tenant: string | null): Promise<ApiKey[]>;
  /** False when no such key lives. */
  revoke(id: string, tenant: string | null, by: KeyChange): Promise<boolean>;
  used(id: string): Promise<void>;
}

/** Who calls with a key. */
export type KeyHolder = Pick<ApiKey, 'id' | 'scopes' | 'tenant' | 'groups'>;

export type NewApiKey = Pick<ApiKey, 'name' | 'scopes' | 'tenant' | 'groups'>;

export type CreatedApiKey =
  | { readonly ok: true; readonly key: string; readonly made: ApiKey; readonly isReplay: boolean }
  /** The idempotency key stands for another API key, or for one that was revoked. */
  | { readonly ok: false; readonly why: 'key_reused' | 'revoked' };

/** Knows which keys are good. */
export interface ApiKeys {
  /**
   * Undefined for a key of nobody. Asks Postgres at most five times a second per key. An unknown key from a distrusted
   * address is asked about together with all others of that kind: one statement at a time. Rejects with `OVERLOADED`
   * when too many of them wait.
   */
  holderOf(key: string, isDistrusted?: boolean): Promise<KeyHolder | undefined>;
  /** Makes a key; it is shown this once, and to repeats under the same idempotency key. */
  create(key: NewApiKey, by: KeyChange, idempotency?: Idempotency): Promise<CreatedApiKey>;
  list(tenant: string | null): Promise<ApiKey[]>;
  revoke(id: string, tenant: string | null, by: KeyChange): Promise<boolean>;
}

interface ApiKeysDeps {
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Logger;
  readonly store: KeyStore;
  readonly keys: DerivedKeys;
  /** Keys of the configuration, with every scope. */
  readonly given: readonly string[];
}

/** What is remembered of a key; times in monotonic ms. */
interface KnownKey {
  readonly holder: KeyHolder;
  readonly readAt: number;
  readonly notedAt: number;
}

const SHAPE = /^sk_[A-Za-z0-9_-]{43}$/;
const KEY_BYTES = 32;
/** How long an answer of Postgres counts: within this time a revoked key is refused on every replica. */
const BELIEVED_MS = 200;
/** How long it counts while Postgres cannot be asked. */
const BELIEVED_BLIND_MS = 4_000;
/** Time between two notes of the use of a key. */
const NOTED_MS = 10_000;
/** Keys of distrusted addresses that may wait for the next statement. */
const MAX_WAITING = 500;
const MAX_REMEMBERED = 1000;

/** Keys of the configuration and of the database. */
export const createApiKeys = (deps: ApiKeysDeps): ApiKeys => {
  const { clock, random, store, given } = deps;
  const known = new Map<string, KnownKey>();
  /** Questions under way, shared by all requests with the same key. */
  const asking = new Map<string, Promise<KeyHolder | undefined>>();

  const batch = createBatch(store);

  const lookUp = (
    key: string,
    isDistrusted: boolean,
  ): KeyHolder | undefined | Promise<KeyHolder | undefined> => {
    const hash = sha256(key);
    const name = nameOf(hash);
    const before = known.get(name);
    if (before && clock.monotonic() - before.readAt < BELIEVED_MS) return before.holder;
    const asked = asking.get(name) ?? ask(hash, before, isDistrusted).finally(() => asking.delete(name));
    asking.set(name, asked);
    return asked;
  };
  const ask = async (
    hash: Buffer,
    before: KnownKey | undefined,
    isDistrusted: boolean,
  ): Promise<KeyHolder | undefined> => {
    const name = nameOf(hash);
    const readAt = clock.monotonic();
    try {
      // A key that was good a moment ago does not queue behind the guesses of others.
      const mustQueue = isDistrusted && before === undefined;
      const found = mustQueue ? await batch(hash) : await findOne(store, hash);
      if (found === undefined || found.revokedAt !== null) {
        known.delete(name);
        return undefined;
      }
      remember(name, { holder: found, readAt, notedAt: noteUse(found.id, before?.notedAt, readAt) });
      return found;
    } catch (error) {
      if (before && readAt - before.readAt < BELIEVED_BLIND_MS) return before.holder;
      throw error;
    }
  };
  const remember = (name: string, key: KnownKey): void => {
    if (known.size >= MAX_REMEMBERED && !known.has(name)) known.clear();
    known.set(name, key);
  };
  const noteUse = (id: string, notedAt: number | undefined, now: number): number => {
    if (notedAt !== undefined && now - notedAt < NOTED_MS) return notedAt;
    store.used(id).catch((error: unknown) => deps.log.debug({ error }, 'api_key.touch_failed'));
    return now;
  };

  return {
    holderOf: async (key, isDistrusted = false) => {
      const at = indexOfKey(given, key);
      if (at >= 0) return { id: String(at), scopes: SCOPES, tenant: null, groups: null };
      // What is not of our making is not worth a question.
      return SHAPE.test(key) ? lookUp(key, isDistrusted) : undefined;
    },
    create: async (wanted, by, idempotency) => {
      if (idempotency !== undefined) return createOnce(deps, wanted, by, idempotency);
      const key = keyOf(random.bytes(KEY_BYTES));
      const made = await store.insert({ ...wanted, id: crypto.randomUUID() }, sha256(key), by);
      if (made === undefined) throw new Error('a random API key was taken');
      return { ok: true, key, made, isReplay: false };
    },
    list: (tenant) => store.list(tenant),
    revoke: async (id, tenant, by) => {
      const isGone = await store.revoke(id, tenant, by);
      for (const [name, { holder }] of known) if (holder.id === id) known.delete(name);
      return isGone;
    },
  };
};

const keyOf = (bytes: Uint8Array): string => `sk_${Buffer.from(bytes).toString('base64url')}`;

/**
 * Under an idempotency key the API key follows from it, so that a repeat finds what the first request made and
 * nothing secret is stored. Older signing keys count too: the first request may have come before they changed.
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
  // A request with the same key was faster by a moment; what it made is committed now.
  const before = await replayed(secret);
  if (before === undefined) throw new Error('a key that was in the way is gone');
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

/** Asks for all that wait in one statement, one statement at a time. */
const createBatch = (store: Finder) => {
  let waiting: Buffer[] = [];
  let next: Promise<ReadonlyMap<string, ApiKey>> | undefined;
  let last: Promise<unknown> = Promise.resolve();
  const askAll = async (): Promise<ReadonlyMap<string, ApiKey>> => {
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
      next = last.then(askAll);
      last = next.catch(() => {});
    }
    return (await next).get(nameOf(hash));
  };
};

const nameOf = (hash: Buffer): string => hash.toString('base64');

const sha256 = (text: string): Buffer => createHash('sha256').update(text).digest();

/** The position of a key in a list, or -1; takes the same time for every wrong key. */
export const indexOfKey = (keys: readonly string[], given: string): number => {
  const wanted = sha256(given);
  return keys.reduce((found, key, at) => (timingSafeEqual(sha256(key), wanted) ? at : found), -1);
};
