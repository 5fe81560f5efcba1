import type { IssuerRules, TrustedToken } from './oidc-ports.ts';

/** The user of a token and the strength of the login. */
export interface UserClaims {
  readonly userId: string;
  readonly sub: string;
  readonly sid: string | null;
  readonly amr: readonly string[];
  readonly aal: number;
  /** Ms since the epoch; undefined without the claim. */
  readonly authTime: number | undefined;
}

const MAX_ID = 255;
const MAX_AMR = 16;
const MAX_AMR_LENGTH = 32;
const SKEW_MS = 60_000;
/** `urn:example:aal:2`, `http://idmanagement.gov/ns/assurance/aal/2`, `aal2`. */
const AAL_IN_ACR = /(?:^|[/:#])aal[/:]?([123])$/i;

/** The user in the claims; undefined when a claim is missing or cannot be stored. */
export const userClaimsOf = ({ issuer, claims }: TrustedToken, now: number): UserClaims | undefined => {
  const userId = userIdOf(issuer, claims);
  const { sub, sid } = claims;
  if (userId === undefined || !isId(sub) || (sid !== undefined && !isId(sid))) return undefined;
  const authTime = claims['auth_time'];
  if (authTime !== undefined && !isPast(authTime, now)) return undefined;
  return {
    userId,
    sub,
    sid: sid ?? null,
    amr: amrOf(claims['amr']),
    aal: aalOf(claims['acr']),
    authTime: authTime === undefined ? undefined : authTime * 1000,
  };
};

/** True for text that Postgres and Redis store unchanged: 1 to 255 characters, well-formed, without NUL. */
export const isId = (value: unknown): value is string =>
  typeof value === 'string' && value !== '' && value.length <= MAX_ID && !value.includes('\0') && value.isWellFormed();

const userIdOf = ({ userIdClaim, userIdPrefix }: IssuerRules, claims: TrustedToken['claims']): string | undefined => {
  const claim = Object.hasOwn(claims, userIdClaim) ? claims[userIdClaim] : undefined;
  const id = Number.isSafeInteger(claim) ? String(claim) : claim;
  if (!isId(id)) return undefined;
  const userId = userIdPrefix + id;
  return isId(userId) ? userId : undefined;
};

/** True for an instant before now; clocks of issuers may be ahead by one minute. */
const isPast = (seconds: unknown, now: number): seconds is number =>
  typeof seconds === 'number' && Number.isFinite(seconds) && seconds >= 0 && seconds * 1000 <= now + SKEW_MS;

const amrOf = (amr: unknown): string[] =>
  Array.isArray(amr) ? amr.filter((method) => isId(method) && method.length <= MAX_AMR_LENGTH).slice(0, MAX_AMR) : [];

/** 1 unless the issuer names a level of NIST SP 800-63 in `acr`. */
const aalOf = (acr: unknown): number => Number((typeof acr === 'string' ? AAL_IN_ACR.exec(acr)?.[1] : undefined) ?? 1);
