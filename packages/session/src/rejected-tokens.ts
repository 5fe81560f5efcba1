import { LRUCache } from 'lru-cache';
import { hashSecret, type SessionId } from './token.ts';

/**
 * What the source has just refused, by session and secret. A retired secret never becomes good again, so its holder
 * costs one question in two seconds instead of one per request. Ask it only after everything that could accept a token.
 */
export interface RejectedTokens<V extends object> {
  find(token: Credential): V | undefined;
  keep(token: Credential, verdict: V): void;
}

interface Credential {
  readonly id: SessionId;
  readonly secret: string;
}

const KEPT_MS = 2_000;
const MAX_KEPT = 10_000;

/** Keeps the last 10,000 refusals for two seconds each. */
export const createRejectedTokens = <V extends object>(): RejectedTokens<V> => {
  const kept = new LRUCache<string, V>({ max: MAX_KEPT, ttl: KEPT_MS });
  return {
    find: (token) => kept.get(keyOf(token)),
    keep: (token, verdict) => void kept.set(keyOf(token), verdict),
  };
};

const keyOf = ({ id, secret }: Credential): string => id + hashSecret(secret).toString('base64url');
