import { readSessionCookies } from './cookie.ts';

/** What a request shows to say which session it belongs to. */
export type Credential =
  | { readonly is: 'none' }
  | { readonly is: 'bearer'; readonly token: string }
  | { readonly is: 'cookie'; readonly tokens: readonly string[] }
  /** A bearer token and a cookie of another session: first-wins would be a guess. */
  | { readonly is: 'ambiguous' };

const SCHEME = 'Bearer';
/** No header of a request is longer; whatever a caller hands over instead is not read. */
const MAX_AUTHORIZATION_LENGTH = 16_384;
const ID_LENGTH = 36;

/** Reads the session credential of a request; tokens in queries or bodies do not exist. Never throws. */
export const readCredential = (
  headers: { readonly cookieHeader: string | undefined; readonly authorization: string | undefined },
  cookieName: string,
): Credential => {
  const tokens = readSessionCookies(headers.cookieHeader, cookieName);
  const bearer = readBearer(headers.authorization);
  if (bearer === undefined) return tokens.length === 0 ? { is: 'none' } : { is: 'cookie', tokens };
  const sameSession = (token: string) => token.slice(0, ID_LENGTH) === bearer.slice(0, ID_LENGTH);
  return tokens.every(sameSession) ? { is: 'bearer', token: bearer } : { is: 'ambiguous' };
};

/**
 * The token of an `Authorization: Bearer` header; undefined when there is no such header, `''` when it holds no single
 * token. The time is linear in the length: the header is read before any credential is known.
 */
export const readBearer = (authorization: string | undefined): string | undefined => {
  if (authorization === undefined || !/^Bearer\b/i.test(authorization)) return undefined;
  if (authorization.length > MAX_AUTHORIZATION_LENGTH) return '';
  const rest = authorization.slice(SCHEME.length);
  const token = rest.trim();
  return rest.startsWith(' ') && !/\s/.test(token) ? token : '';
};
