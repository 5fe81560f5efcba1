import { stringifySetCookie } from 'cookie';
import { unsign } from 'cookie-signature';

/** Attributes of a session cookie; always `Path=/; HttpOnly`, never `Domain`. */
export interface CookieAttributes {
  /** Sent over https only; required for `__Host-` names. */
  readonly secure: boolean;
  /** Lifetime in seconds, at most 400 days; without it the cookie ends with the browser. */
  readonly maxAgeS?: number;
  /** For pages embedded in foreign sites: `SameSite=None; Partitioned`. */
  readonly embed?: boolean;
}

/** Cookies of one name that are read from a header. */
export const MAX_COOKIES_READ = 64;
/** 400 days, the longest lifetime that browsers accept. */
export const MAX_COOKIE_AGE_S = 400 * 86_400;

const PREFIX = 's:';
// `s:` and a token, every character percent-encoded.
const MAX_VALUE_LENGTH = 512;

/**
 * The values of the first 64 cookies `name`, in order and each once, as tokens without their `s:`.
 * A value that cannot be a token is the empty string, which verifies as malformed.
 * Names are compared exactly; never throws.
 */
export const readSessionCookies = (header: string | undefined, name: string): string[] => {
  if (!header) return [];
  const found = new Set<string>();
  let read = 0;
  for (const pair of header.split(';')) {
    const equals = pair.indexOf('=');
    if (equals < 0 || pair.slice(0, equals).trim() !== name) continue;
    found.add(tokenIn(pair.slice(equals + 1).trim()));
    read += 1;
    if (read === MAX_COOKIES_READ) break;
  }
  return [...found];
};

/** Content of a value that express-session signed with one of these keys; undefined for any other text. */
export const unsignExpressSessionCookie = (text: string, secrets: readonly string[]): string | undefined => {
  if (text.length > MAX_VALUE_LENGTH) return undefined;
  for (const secret of secrets) {
    const content = unsign(text, secret);
    if (content !== false) return content;
  }
  return undefined;
};

/** `Set-Cookie` header with a session token. */
export const sessionCookie = (name: string, token: string, attributes: CookieAttributes): string =>
  stringifySetCookie(
    {
      name,
      value: PREFIX + token,
      ...common(attributes),
      ...(attributes.maxAgeS === undefined
        ? {}
        : { maxAge: Math.max(0, Math.min(MAX_COOKIE_AGE_S, Math.floor(attributes.maxAgeS))) }),
    },
    { encode: encodeURIComponent },
  );

/** `Set-Cookie` header that deletes the cookie: same name, path and attributes. */
export const clearedCookie = (name: string, attributes: CookieAttributes): string =>
  stringifySetCookie({ name, value: '', ...common(attributes), maxAge: 0, expires: new Date(0) });

/** `__Host-session_id` for an https origin, `session_id` for plain local http, or what was configured. */
export const cookieNameFor = (publicUrl: string, configured?: string): string =>
  configured ?? (new URL(publicUrl).protocol === 'https:' ? '__Host-session_id' : 'session_id');

const common = ({ secure, embed = false }: CookieAttributes) => ({
  path: '/',
  secure,
  httpOnly: true,
  sameSite: embed ? ('none' as const) : ('lax' as const),
  partitioned: embed,
});

const tokenIn = (raw: string): string => {
  const value = raw.startsWith('"') && raw.endsWith('"') ? raw.slice(1, -1) : raw;
  if (value.length > MAX_VALUE_LENGTH) return '';
  const decoded = decode(value);
  return decoded.startsWith(PREFIX) ? decoded.slice(PREFIX.length) : '';
};

const decode = (value: string): string => {
  if (!value.includes('%')) return value;
  try {
    return decodeURIComponent(value);
  } catch {
    return '';
  }
};
