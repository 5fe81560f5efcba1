import type { KeyObject } from 'node:crypto';
import type { Clock } from '@muster/kit/clock';
import type { Jwks } from '@muster/kit/jwks';
import type { Logger } from '@muster/kit/logger';
import { AppError } from '@muster/protocol/errors';
import {
  decodeProtectedHeader,
  errors,
  type JWTPayload,
  type JWTVerifyOptions,
  jwtVerify,
  type ProtectedHeaderParameters,
} from 'jose';
import { type JwtKey, PUBLISHED_ALGORITHMS } from './jwt-keys.ts';

/** Fault of an invalid token; the `result` label of `gateway_token_checks_total`. */
export type JwtFault =
  | 'too_long'
  | 'malformed'
  | 'type'
  | 'algorithm'
  | 'unknown_key'
  | 'signature'
  | 'issuer'
  | 'audience'
  | 'claims';

/** Result of a verification. `not_yet`: `nbf` is in the future. `unavailable`: the keys could not be fetched; the token may be valid. */
export type JwtVerification =
  /** `key`: the configured key that signed the token; undefined for a published key. */
  | { readonly ok: true; readonly claims: JWTPayload; readonly key?: KeyObject }
  | { readonly ok: false; readonly why: 'expired' | 'not_yet' | 'unavailable' }
  | { readonly ok: false; readonly why: 'invalid'; readonly fault: JwtFault };

/** Keys and required claims of application tokens. */
export interface JwtRules {
  readonly keys: readonly JwtKey[];
  /** Accepted `aud` claims; empty: `aud` is not checked. */
  readonly audience: readonly string[];
  /** Required `iss` claim; undefined: `iss` is not checked. */
  readonly issuer: string | undefined;
}

export interface JwtVerifierDeps {
  readonly clock: Clock;
  readonly log: Logger;
  /** Read for each token, so that keys can be rotated. */
  rules(): JwtRules;
  /** Keys of `TOKEN_JWKS_URL`. */
  readonly published: Jwks | undefined;
}

/** Verifies JSON Web Tokens of the application. */
export interface JwtVerifier {
  /** Never rejects. */
  verify(token: string): Promise<JwtVerification>;
  /** True with at least one key. */
  isConfigured(): boolean;
  /** True while a key that signed a token is configured. */
  isValidKey(key: object): boolean;
}

/** Longest token in characters; a longer one is rejected without parsing. */
export const MAX_JWT_LENGTH = 16_384;

/** Clock tolerance for `nbf` and `iat`; `exp` has none. */
const SKEW_S = 60;
/** Accepted `typ` headers, in lower case (RFC 8725 §3.11, RFC 9068). */
const TYPES = ['', 'jwt', 'at+jwt'];
// `{"` and `{ ` in base64url begin with `ey`; `y` occurs in no UUID, so a session token never matches.
const JWT = /^ey[\w-]*\.[\w-]*\.[\w-]*$/;

/** True for the form of a JSON Web Token, which neither a session token nor a ticket has. */
export const isJwt = (text: string): boolean => JWT.test(text);

/** Checks length, form and header, then the signature, then the claims. Key headers of a token (`jku`, `x5u`, `jwk`) are ignored. */
export const createJwtVerifier = (deps: JwtVerifierDeps): JwtVerifier => {
  const { clock, published } = deps;

  const check = async (token: string): Promise<JwtVerification> => {
    if (token.length > MAX_JWT_LENGTH) return invalid('too_long');
    const header = headerOf(token);
    if (header === undefined) return invalid('malformed');
    return TYPES.includes(typeOf(header)) ? checkSignature(token, header.alg ?? '') : invalid('type');
  };

  const checkSignature = async (token: string, algorithm: string): Promise<JwtVerification> => {
    const rules = deps.rules();
    const options = optionsOf(rules, clock);
    const own = rules.keys.filter(({ algorithms }) => algorithms.includes(algorithm));
    const byOwn = await checkWith(token, own, options);
    if (byOwn !== undefined) return byOwn;
    if (published === undefined || !PUBLISHED_ALGORITHMS.includes(algorithm))
      return invalid(own.length === 0 ? 'algorithm' : 'signature');
    const algorithms = [...PUBLISHED_ALGORITHMS];
    return accepted(
      await jwtVerify(token, (used) => published.find(used), { ...options, algorithms }),
      clock,
    );
  };

  const checkWith = async (
    token: string,
    keys: readonly JwtKey[],
    options: JWTVerifyOptions,
  ): Promise<JwtVerification | undefined> => {
    for (const { key, algorithms } of keys) {
      try {
        const verified = await jwtVerify(token, key, { ...options, algorithms: [...algorithms] });
        return { ...accepted(verified, clock), key };
      } catch (error) {
        // The previous or a published key may have signed it.
        if (!(error instanceof errors.JWSSignatureVerificationFailed)) throw error;
      }
    }
    return undefined;
  };

  return {
    isConfigured: () => published !== undefined || deps.rules().keys.length > 0,
    isValidKey: (used) => deps.rules().keys.some(({ key }) => key.equals(used as KeyObject)),
    verify: async (token) => {
      try {
        return await check(token);
      } catch (error) {
        return failureOf(error, deps);
      }
    },
  };
};

const invalid = (fault: JwtFault): JwtVerification => ({ ok: false, why: 'invalid', fault });

const typeOf = ({ typ = '' }: ProtectedHeaderParameters): string =>
  typeof typ === 'string' ? typ.toLowerCase().replace(/^application\//, '') : 'none';

const optionsOf = ({ issuer, audience }: JwtRules, clock: Clock): JWTVerifyOptions => ({
  clockTolerance: SKEW_S,
  currentDate: new Date(clock.now()),
  ...(issuer === undefined ? {} : { issuer }),
  ...(audience.length === 0 ? {} : { audience: [...audience] }),
});

const headerOf = (token: string): ProtectedHeaderParameters | undefined => {
  try {
    return decodeProtectedHeader(token);
  } catch {
    return undefined;
  }
};

/** The library's tolerance also covers `exp`, which is therefore checked again without it. */
const accepted = (
  { payload }: { readonly payload: JWTPayload },
  clock: Clock,
): Extract<JwtVerification, { ok: true }> => {
  if (payload.exp !== undefined && payload.exp * 1000 <= clock.now())
    throw new errors.JWTExpired('late', payload);
  return { ok: true, claims: payload };
};

const failureOf = (error: unknown, { log }: JwtVerifierDeps): JwtVerification => {
  if (error instanceof errors.JWTExpired) return { ok: false, why: 'expired' };
  if (isNotYet(error)) return { ok: false, why: 'not_yet' };
  const fault = faultOf(error);
  if (fault !== undefined) return invalid(fault);
  if (!(error instanceof AppError)) log.error({ error }, 'token.check_failed');
  return { ok: false, why: 'unavailable' };
};

const isNotYet = (error: unknown): boolean =>
  error instanceof errors.JWTClaimValidationFailed &&
  error.claim === 'nbf' &&
  error.reason === 'check_failed';

const CLAIM_FAULTS: ReadonlyMap<string, JwtFault> = new Map([
  ['aud', 'audience'],
  ['iss', 'issuer'],
]);

const faultOf = (error: unknown): JwtFault | undefined => {
  if (error instanceof errors.JWTClaimValidationFailed) {
    return error.reason === 'check_failed' || error.reason === 'missing'
      ? (CLAIM_FAULTS.get(error.claim) ?? 'claims')
      : 'claims';
  }
  if (error instanceof errors.JOSEAlgNotAllowed || error instanceof errors.JOSENotSupported)
    return 'algorithm';
  if (error instanceof errors.JWKSNoMatchingKey || error instanceof errors.JWKSMultipleMatchingKeys)
    return 'unknown_key';
  if (error instanceof errors.JWSSignatureVerificationFailed) return 'signature';
  if (error instanceof errors.JOSEError) return 'malformed';
  return undefined;
};
