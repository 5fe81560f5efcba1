import { createHash, timingSafeEqual } from 'node:crypto';
import type { Clock } from '@muster/kit/clock';
import type { Logger } from '@muster/kit/logger';
import type { Random } from '@muster/kit/random';

/** What an API key may be allowed to do. */
export const SCOPES = [
  'sessions:create',
  'sessions:read',
  'sessions:write',
  'sessions:end',
  'sessions:check',
  'sessions:search',
  'sessions:admin',
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
  readonly createdAt: number;
  readonly lastUsedAt: number | null;
  readonly revokedAt: number | null;
}

/** API keys in Postgres. */
export interface KeyStore {
  insert(key: Pick<ApiKey, 'id' | 'name' | 'scopes' | 'tenant'>, hash: Buffer): Promise<ApiKey>;
  findByHash(hash: Buffer): Promise<ApiKey | undefined>;
  list(tenant: string | null): Promise<ApiKey[]>;
  /** False when no such key lives. */
  revoke(id: string, tenant: string | null): Promise<boolean>;
  used(id: string): Promise<void>;
}

/** Who calls with a key. */
export type KeyHolder = Pick<ApiKey, 'id' | 'scopes' | 'tenant'>;

/** Knows which keys are good. */
export interface ApiKeys {
  /** Undefined for a key of nobody. Asks Postgres at most once in ten seconds per key. */
  holderOf(key: string): Promise<KeyHolder | undefined>;
  /** Makes a key; it is shown this once. */
  create(key: Pick<ApiKey, 'name' | 'scopes' | 'tenant'>): Promise<{ key: string; made: ApiKey }>;
  list(tenant: string | null): Promise<ApiKey[]>;
  revoke(id: string, tenant: string | null): Promise<boolean>;
}

interface ApiKeysDeps {
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Logger;
  readonly store: KeyStore;
  /** Keys of the configuration, with every scope. */
  readonly given: readonly string[];
}

const SHAPE = /^sk_[A-Za-z0-9_-]{43}$/;
const KEY_BYTES = 32;
const BELIEVED_MS = 10_000;
const MAX_REMEMBERED = 1000;

/** Keys of the configuration and of the database. */
export const createApiKeys = (deps: ApiKeysDeps): ApiKeys => {
  const { clock, random, store, given } = deps;
  const known = new Map<string, { readonly holder: KeyHolder; readonly until: number }>();

  const lookUp = async (key: string): Promise<KeyHolder | undefined> => {
    const hash = sha256(key);
    const name = hash.toString('base64');
    const before = known.get(name);
    if (before && clock.monotonic() < before.until) return before.holder;
    known.delete(name);
    const found = await store.findByHash(hash);
    if (found === undefined || found.revokedAt !== null) return undefined;
    if (known.size >= MAX_REMEMBERED) known.clear();
    known.set(name, { holder: found, until: clock.monotonic() + BELIEVED_MS });
    store.used(found.id).catch((error: unknown) => deps.log.debug({ error }, 'api-key.use-not-noted'));
    return found;
  };

  return {
    holderOf: async (key) => {
      const at = indexOfKey(given, key);
      if (at >= 0) return { id: String(at), scopes: SCOPES, tenant: null };
      // What is not of our making is not worth a question.
      return SHAPE.test(key) ? lookUp(key) : undefined;
    },
    create: async (wanted) => {
      const key = `sk_${Buffer.from(random.bytes(KEY_BYTES)).toString('base64url')}`;
      return { key, made: await store.insert({ ...wanted, id: crypto.randomUUID() }, sha256(key)) };
    },
    list: (tenant) => store.list(tenant),
    revoke: async (id, tenant) => {
      const isGone = await store.revoke(id, tenant);
      for (const [name, { holder }] of known) if (holder.id === id) known.delete(name);
      return isGone;
    },
  };
};

const sha256 = (text: string): Buffer => createHash('sha256').update(text).digest();

/** The position of a key in a list, or -1; takes the same time for every wrong key. */
export const indexOfKey = (keys: readonly string[], given: string): number => {
  const wanted = sha256(given);
  return keys.reduce((found, key, at) => (timingSafeEqual(sha256(key), wanted) ? at : found), -1);
};
