import type { KeyObject } from 'node:crypto';
import {
  decodeProtectedHeader,
  errors,
  type JWTPayload,
  type JWTVerifyOptions,
  jwtVerify,
  type ProtectedHeaderParameters,
} from 'jose';
import type { Jwks } from './jwks.ts';

/** Reason why a JWT is rejected; a metric label. */
export type JwtFault =
  | 'malformed'
  | 'type'
  | 'algorithm'
  | 'unknown_key'
  | 'signature'
  | 'issuer'
  | 'audience'
  | 'expired'
  | 'not_yet'
  | 'claims';

/** A key with the algorithms that it is valid for; the header of a token does not choose among others. */
export interface JwtKey {
  readonly algorithms: readonly string[];
  readonly key: KeyObject;
}

/** Algorithms of published keys. No HMAC: its secret would be the public key. */
export const ASYMMETRIC_ALGORITHMS = [
  ...['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512', 'ES256', 'ES384', 'ES512', 'EdDSA', 'Ed25519'],
] as const;

/** Requirements for a token. */
export interface JwtRequirements {
  /**
   * Accepted `typ` headers, in lower case and without `application/`; `''` accepts a token without it (RFC 8725 §3.11).
   */
  readonly types: readonly string[];
  /** Configured keys, tried before published keys. */
  readonly keys: readonly JwtKey[];
  readonly published?: { readonly jwks: Jwks; readonly algorithms: readonly string[] } | undefined;
  /** Value of `iss`; undefined: any. */
  readonly issuer: string | undefined;
  /** `aud` must name one of these; empty: any. */
  readonly audience: readonly string[];
  readonly requiredClaims?: readonly string[];
  /** Longest time since `iat`, in seconds. */
  readonly maxAgeS?: number;
}

export type JwtResult =
  /** `key`: the configured key that verified the signature; undefined for a published key. */
  | { readonly ok: true; readonly claims: JWTPayload; readonly key?: KeyObject }
  | { readonly ok: false; readonly fault: JwtFault };

/** Clock skew that `nbf` and `iat` may have, in seconds. `exp` has none: no client needs an expired token. */
const SKEW_S = 60;

/**
 * Verifies a JWT: header, then signature, then claims. Key references in the header (`jku`, `x5u`, `jwk`) are ignored.
 * `now` in ms since the epoch. Rejects only as `published.jwks` does when its keys cannot be fetched.
 */
export const verifyJwt = async (token: string, requirements: JwtRequirements, now: number): Promise<JwtResult> => {
  const header = headerOf(token);
  if (header === undefined) return { ok: false, fault: 'malformed' };
  if (!requirements.types.includes(typeOf(header))) return { ok: false, fault: 'type' };
  try {
    const result = await verifySignature(token, header.alg ?? '', requirements, now);
    // The tolerance of the library also extends `exp`.
    const isExpired = result.ok && result.claims.exp !== undefined && result.claims.exp * 1000 <= now;
    return isExpired ? { ok: false, fault: 'expired' } : result;
  } catch (error) {
    return { ok: false, fault: faultOf(error) };
  }
};

const verifySignature = async (
  token: string,
  algorithm: string,
  requirements: JwtRequirements,
  now: number,
): Promise<JwtResult> => {
  const options = optionsOf(requirements, now);
  const candidates = requirements.keys.filter(({ algorithms }) => algorithms.includes(algorithm));
  for (const { key, algorithms } of candidates) {
    try {
      const { payload } = await jwtVerify(token, key, { ...options, algorithms: [...algorithms] });
      return { ok: true, claims: payload, key };
    } catch (error) {
      if (!(error instanceof errors.JWSSignatureVerificationFailed)) throw error;
    }
  }
  const { published } = requirements;
  if (published === undefined || !published.algorithms.includes(algorithm)) {
    return { ok: false, fault: candidates.length === 0 ? 'algorithm' : 'signature' };
  }
  const algorithms = [...published.algorithms];
  const find = (used: Parameters<Jwks['find']>[0]) => published.jwks.find(used);
  const { payload } = await jwtVerify(token, find, { ...options, algorithms });
  return { ok: true, claims: payload };
};

const optionsOf = ({ issuer, audience, requiredClaims, maxAgeS }: JwtRequirements, now: number): JWTVerifyOptions => ({
  clockTolerance: SKEW_S,
  currentDate: new Date(now),
  ...(issuer === undefined ? {} : { issuer }),
  ...(audience.length === 0 ? {} : { audience: [...audience] }),
  ...(requiredClaims === undefined ? {} : { requiredClaims: [...requiredClaims] }),
  ...(maxAgeS === undefined ? {} : { maxTokenAge: maxAgeS }),
});

const headerOf = (token: string): ProtectedHeaderParameters | undefined => {
  try {
    return decodeProtectedHeader(token);
  } catch {
    return undefined;
  }
};

const typeOf = ({ typ = '' }: ProtectedHeaderParameters): string =>
  typeof typ === 'string' ? typ.toLowerCase().replace(/^application\//, '') : 'none';

const CLAIM_FAULTS: ReadonlyMap<string, JwtFault> = new Map([
  ['aud', 'audience'],
  ['iss', 'issuer'],
  ['nbf', 'not_yet'],
  ['iat', 'not_yet'],
]);

/** Throws what is not an error of the token. */
const faultOf = (error: unknown): JwtFault => {
  if (error instanceof errors.JWTExpired) return 'expired';
  if (error instanceof errors.JWTClaimValidationFailed) {
    // A claim of the wrong type.
    if (error.reason === 'invalid') return 'claims';
    return CLAIM_FAULTS.get(error.claim) ?? 'claims';
  }
  if (error instanceof errors.JOSEAlgNotAllowed || error instanceof errors.JOSENotSupported) return 'algorithm';
  if (error instanceof errors.JWKSNoMatchingKey || error instanceof errors.JWKSMultipleMatchingKeys) {
    return 'unknown_key';
  }
  if (error instanceof errors.JWSSignatureVerificationFailed) return 'signature';
  if (error instanceof errors.JOSEError) return 'malformed';
  throw error;
};
