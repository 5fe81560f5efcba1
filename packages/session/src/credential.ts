import { AppError } from '@muster/protocol/errors';
import { readSessionCookies } from './cookie.ts';

/** Session tokens of a request, in order. `ambiguous`: the bearer token and a cookie name different sessions. */
export interface RequestCredential {
  readonly via: 'none' | 'bearer' | 'cookie' | 'ambiguous';
  readonly tokens: readonly string[];
}

/** Headers that carry a credential. */
export interface CredentialHeaders {
  readonly cookie?: string | undefined;
  readonly authorization?: string | undefined;
}

const SCHEME = 'Bearer';
/** Characters of an `Authorization` header that are read; Node limits all headers of a request to the same number. */
const MAX_AUTHORIZATION_LENGTH = 16_384;
const ID_LENGTH = 36;

const NONE: RequestCredential = { via: 'none', tokens: [] };
const AMBIGUOUS: RequestCredential = { via: 'ambiguous', tokens: [] };

/** Reads the session tokens of the `Authorization` and `Cookie` headers. Never throws. */
export const readCredential = (headers: CredentialHeaders, cookieName: string): RequestCredential => {
  const tokens = readSessionCookies(headers.cookie, cookieName);
  const bearer = readBearer(headers.authorization);
  if (bearer === undefined) return tokens.length === 0 ? NONE : { via: 'cookie', tokens };
  const isSameSession = (token: string) => token.slice(0, ID_LENGTH) === bearer.slice(0, ID_LENGTH);
  return tokens.every(isSameSession) ? { via: 'bearer', tokens: [bearer] } : AMBIGUOUS;
};

export const ambiguousCredential = (): AppError =>
  new AppError('MALFORMED_REQUEST', {
    detail: 'The cookie and the bearer token belong to different sessions. Send one of them.',
  });

/**
 * Token of an `Authorization: Bearer` header; undefined without such a header, `''` when its value is not one token.
 * Linear in the length, for the header is read before the client is authenticated.
 */
export const readBearer = (authorization: string | undefined): string | undefined => {
  if (authorization === undefined || !/^Bearer\b/i.test(authorization)) return undefined;
  if (authorization.length > MAX_AUTHORIZATION_LENGTH) return '';
  const rest = authorization.slice(SCHEME.length);
  const token = rest.trim();
  return rest.startsWith(' ') && !/\s/.test(token) ? token : '';
};

/** Results of checking one token, from the least to the most informative rejection. */
const STATUSES = ['forged', 'invalid', 'stale', 'ended', 'unavailable', 'live'] as const;
export type CredentialStatus = (typeof STATUSES)[number];

/** Tokens of one request that are looked up in a store. */
export const MAX_CREDENTIALS_TRIED = 4;

/**
 * Checks the tokens of a request in order and returns the first live result, else the most informative rejection, the
 * first among equals. `unavailable` stops: a later token may win only when every earlier token is known not to be live.
 * Checks at most four tokens, not counting `forged` tokens, which need no store. Undefined without tokens. Rejects as
 * `check` does.
 */
export const firstLiveSession = async <R>(
  tokens: readonly string[],
  check: (token: string) => R | Promise<R>,
  statusOf: (result: R) => CredentialStatus,
): Promise<R | undefined> => {
  let best: { readonly result: R; readonly rank: number } | undefined;
  let tried = 0;
  for (const token of tokens) {
    const result = await check(token);
    const status = statusOf(result);
    if (status === 'live' || status === 'unavailable') return result;
    const rank = STATUSES.indexOf(status);
    if (best === undefined || rank > best.rank) best = { result, rank };
    if (status !== 'forged') tried += 1;
    if (tried === MAX_CREDENTIALS_TRIED) break;
  }
  return best?.result;
};
