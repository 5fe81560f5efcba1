import type { SessionId } from '@muster/session/token';
import type { DerivedKeys } from './signing-keys.ts';

/** The headers in which a browser states the origin of a request. */
export interface RequestOrigin {
  readonly secFetchSite: string | undefined;
  readonly origin: string | undefined;
}

/**
 * Classifies the origin of a request: `ours`, `foreign`, or `unknown` without either header. `Sec-Fetch-Site` decides;
 * `same-site` requires a listed origin; without it the `Origin` must be listed exactly.
 */
export const checkOrigin = (
  { secFetchSite, origin }: RequestOrigin,
  allowed: readonly string[],
): 'ours' | 'foreign' | 'unknown' => {
  const isListed = origin !== undefined && allowed.includes(origin);
  if (secFetchSite !== undefined) {
    if (secFetchSite === 'same-origin') return 'ours';
    return secFetchSite === 'same-site' && isListed ? 'ours' : 'foreign';
  }
  if (origin !== undefined) return isListed ? 'ours' : 'foreign';
  return 'unknown';
};

const NONCE_BYTES = 16;
const TOKEN = /^[A-Za-z0-9_-]{64}$/;

/** A token for clients that send neither header; valid until the secret of the session changes. */
export const issueCsrfToken = (
  keys: DerivedKeys,
  session: { id: SessionId; secretHash: string },
  nonce: Uint8Array,
): string => {
  const random = Buffer.from(nonce.subarray(0, NONCE_BYTES));
  const mac = keys.mac('csrf', textOf(session, random));
  return Buffer.concat([random, mac]).toString('base64url');
};

/** True if this is a CSRF token of this session. */
export const isCsrfToken = (
  keys: DerivedKeys,
  session: { id: SessionId; secretHash: string },
  token: string | undefined,
): boolean => {
  if (token === undefined || !TOKEN.test(token)) return false;
  const bytes = Buffer.from(token, 'base64url');
  return keys.verifies('csrf', textOf(session, bytes.subarray(0, NONCE_BYTES)), bytes.subarray(NONCE_BYTES));
};

const textOf = (session: { id: SessionId; secretHash: string }, nonce: Buffer): string =>
  `${session.id}\n${session.secretHash}\n${nonce.toString('base64url')}`;
