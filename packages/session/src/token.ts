import { createSecretKey, hash, type KeyObject } from 'node:crypto';
import type { Random } from '@muster/kit/runtime';
import { sign, unsign } from 'cookie-signature';
import { v4 } from 'uuid';

/** Version 4 UUID in canonical spelling. Public: it identifies a session and grants nothing. */
export type SessionId = string & { readonly __id: 'session' };

/** Result of {@link TokenSigner.verify}, without I/O. */
export type VerifiedToken =
  | { readonly ok: true; readonly id: SessionId; readonly secret: string; readonly keyIndex: number }
  | { readonly ok: false; readonly why: 'malformed' | 'bad_signature' };

/** Issues and verifies session tokens: `<id>.<secret>.<HMAC-SHA256>` in the format of cookie-signature. */
export interface TokenSigner {
  /** Signs with the first key. */
  issue(id: SessionId, secret: string): string;
  /** Checks length, pattern and the MAC under each key, without I/O. A token with `keyIndex` > 0 should be signed again. */
  verify(token: string): VerifiedToken;
}

/** Characters of a token at most; a longer text is rejected unread. Issued tokens have 103. */
export const MAX_TOKEN_LENGTH = 160;

const UUID_V4 = /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;
const TOKEN =
  /^([0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12})\.([A-Za-z0-9_-]{22})\.[A-Za-z0-9+/]{43}$/;
const SECRET_BYTES = 16;

/** Accepts one spelling of a UUID: Postgres would accept several, Redis keys would not match. */
export const parseSessionId = (text: string): SessionId | undefined =>
  UUID_V4.test(text) ? (text as SessionId) : undefined;

export const newSessionId = (): SessionId => v4() as SessionId;

/** 128 random bits as 22 characters of base64url. */
export const newSecret = (random: Pick<Random, 'bytes'>): string =>
  Buffer.from(random.bytes(SECRET_BYTES)).toString('base64url');

/** SHA-256 of a secret, 32 bytes, as the stores keep it. */
export const hashSecret = (secret: string): Buffer => hash('sha256', secret, 'buffer');

/** Signer whose first key signs and whose keys all verify. Throws a TypeError without a valid key. */
export const createTokenSigner = (secrets: readonly string[]): TokenSigner => {
  requireSecrets(secrets);
  // Made once: a key made from text for each signature costs as much as the signature.
  const keys = secrets.map((secret) => createSecretKey(secret, 'utf8'));
  const [first] = keys as [KeyObject];

  return {
    issue: (id, secret) => sign(`${id}.${secret}`, first),
    verify: (token) => {
      if (token.length > MAX_TOKEN_LENGTH) return { ok: false, why: 'malformed' };
      const parts = TOKEN.exec(token);
      const id = parts?.[1];
      const secret = parts?.[2];
      if (id === undefined || secret === undefined) return { ok: false, why: 'malformed' };
      // cookie-signature compares whole strings: two spellings of the same MAC bytes are two tokens.
      const keyIndex = keys.findIndex((key) => unsign(token, key) !== false);
      return keyIndex < 0 ? { ok: false, why: 'bad_signature' } : { ok: true, id: id as SessionId, secret, keyIndex };
    },
  };
};

/** Throws a TypeError for secrets that would reject every token, such as `SESSION_SECRETS` as one string. */
const requireSecrets = (secrets: unknown): void => {
  if (!Array.isArray(secrets)) {
    throw new TypeError(
      `sessionSecrets: expected an array of strings, got ${typeof secrets}; SESSION_SECRETS is a list, split it at its commas`,
    );
  }
  const isText = secrets.every((secret) => typeof secret === 'string' && secret !== '');
  if (!isText) throw new TypeError('sessionSecrets: expected strings that are not empty');
  if (secrets.some((secret) => secret.includes(','))) {
    throw new TypeError('sessionSecrets: a secret holds a comma; SESSION_SECRETS is a list, split it at its commas');
  }
  if (secrets.length === 0) throw new TypeError('sessionSecrets: expected at least one secret, got an empty array');
};
