import { createHmac, createSecretKey, hkdfSync, type KeyObject } from 'node:crypto';
import { TAIL_USER } from '@muster/protocol/ids';

/** Lifetime of a tail token, ms. */
export const TAIL_TOKEN_LIFETIME_MS = 60_000;
/** The `iss` claim of tail tokens. */
export const TAIL_TOKEN_ISSUER = 'muster-tail';

const HKDF_INFO = 'muster tail token v1';
const KEY_BYTES = 32;

const encode = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url');

/** One header for all tail tokens; its `kid` is what no token of an application has. */
const HEADER = encode({ alg: 'HS256', typ: 'JWT', kid: TAIL_TOKEN_ISSUER });

/** True for a JSON Web Token with the header of a tail token. Nothing is verified. */
export const isTailToken = (token: string): boolean => token.startsWith(`${HEADER}.`);

/** HS256 key of tail tokens: HKDF-SHA-256 (RFC 5869) of a server API key, so the API key itself never signs anything. */
export const tailTokenKey = (serverApiKey: string): KeyObject =>
  createSecretKey(Buffer.from(hkdfSync('sha256', serverApiKey, '', HKDF_INFO, KEY_BYTES)));

/**
 * JWT with which a browser receives the publications of one group of one tenant, and may do nothing else. Gateways that have the
 * same server API key accept it for 60 s. `now` in ms since the Unix epoch.
 */
export const createTailToken = (
  serverApiKey: string,
  { tenant, group, now }: { readonly tenant: string; readonly group: string; readonly now: number },
): { readonly token: string; readonly expiresAt: number } => {
  const issuedAt = Math.floor(now / 1_000);
  const expiresAt = issuedAt + TAIL_TOKEN_LIFETIME_MS / 1_000;
  const claims = { iss: TAIL_TOKEN_ISSUER, sub: TAIL_USER, tenant, group, iat: issuedAt, exp: expiresAt };
  const content = `${HEADER}.${encode(claims)}`;
  const signature = createHmac('sha256', tailTokenKey(serverApiKey)).update(content).digest('base64url');
  return { token: `${content}.${signature}`, expiresAt: expiresAt * 1_000 };
};
