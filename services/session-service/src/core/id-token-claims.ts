import type { IssuerRules, TrustedToken } from './oidc-ports.ts';

/** Whom a token is about, and how they signed in. */
export interface UserClaims {
  readonly userId: string;
  readonly sub: string;
  readonly sid: string | null;
  readonly amr: readonly string[];
  readonly aal: number;
  /** Ms since the epoch; undefined when the issuer does not say. */
  readonly authTime: number | undefined;
}

const MAX_ID = 255;
const MAX_AMR = 16;
const MAX_AMR_LENGTH = 32;
const SKEW_MS = 60_000;
/** `urn:example:aal:2`, `http://idmanagement.gov/ns/assurance/aal/2`, `aal2`. */
const AAL_IN_ACR = /(?:^|[/:#])aal[/:]?([123])$/i;

/** Reads the person out of the claims; undefined when they name nobody, or in a way that cannot be kept. */
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

/** Text that both stores keep as it is. */
export const isId = (value: unknown): value is string =>
  typeof value === 'string' &&
  value !== '' &&
  value.length <= MAX_ID &&
  !value.includes('\0') &&
  value.isWellFormed();

const userIdOf = (
  { userIdClaim, userIdPrefix }: IssuerRules,
  claims: TrustedToken['claims'],
): string | undefined => {
  const claim = Object.hasOwn(claims, userIdClaim) ? claims[userIdClaim] : undefined;
  const id = Number.isSafeInteger(claim) ? String(claim) : claim;
  if (!isId(id)) return undefined;
  const userId = userIdPrefix + id;
  return isId(userId) ? userId : undefined;
};

/** A clock that is ahead of ours by up to a minute is no lie. */
const isPast = (seconds: unknown, now: number): seconds is number =>
  typeof seconds === 'number' && Number.isFinite(seconds) && seconds >= 0 && seconds * 1000 <= now + SKEW_MS;

const amrOf = (amr: unknown): string[] =>
  Array.isArray(amr) ? amr.filter((one) => isId(one) && one.length <= MAX_AMR_LENGTH).slice(0, MAX_AMR) : [];

/** 1 unless the issuer names a level of NIST SP 800-63 in `acr`. */
const aalOf = (acr: unknown): number =>
  Number((typeof acr === 'string' ? AAL_IN_ACR.exec(acr)?.[1] : undefined) ?? 1);
