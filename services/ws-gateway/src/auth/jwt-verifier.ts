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

/** What is wrong with a token; a label of the verdict counter. */
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

/** What was found out about a token. `not_yet`: another one may be good now. `unavailable`: the keys cannot be had just now, and nothing is said about the token. */
export type JwtVerification =
  /** `key`: the key of the configuration that signed it; undefined for a published one. */
  | { readonly ok: true; readonly claims: JWTPayload; readonly key?: KeyObject }
  | { readonly ok: false; readonly why: 'expired' | 'not_yet' | 'unavailable' }
  | { readonly ok: false; readonly why: 'invalid'; readonly fault: JwtFault };

/** What tokens are believed. */
export interface JwtRules {
  readonly keys: readonly JwtKey[];
  /** One of these must be in `aud`; empty: `aud` is not looked at. */
  readonly audience: readonly string[];
  /** Must be `iss`; undefined: it is not looked at. */
  readonly issuer: string | undefined;
}

export interface JwtVerifierDeps {
  readonly clock: Clock;
  readonly log: Logger;
  /** Read anew for each token, so that keys can be replaced. */
  rules(): JwtRules;
  /** Keys that are published at a URL. */
  readonly published: Jwks | undefined;
}

/** Tells whether a JSON Web Token is from the application. */
export interface JwtVerifier {
  /** Never rejects. */
  verify(token: string): Promise<JwtVerification>;
  /** Whether there is any key at all. */
  isConfigured(): boolean;
  /** Whether a key that signed a token is still one of the configuration. */
  isValidKey(key: object): boolean;
}

/** Characters of a token; more is refused unread. */
export const MAX_JWT_LENGTH = 16_384;

/** Clocks may differ by this much where a token says from when on it is good. Where it says until when, nothing is added. */
const SKEW_S = 60;
/** `typ` headers: none, or those of tokens that are meant to be shown to a server (RFC 8725 §3.11, RFC 9068). */
const TYPES = ['', 'jwt', 'at+jwt'];
// The second character is none of a UUID, so a session token never looks like this; `{"` and `{ ` in base64url begin so.
const JWT = /^ey[\w-]*\.[\w-]*\.[\w-]*$/;

/** True for what looks like a JSON Web Token; neither a session token nor a ticket ever does. */
export const isJwt = (text: string): boolean => JWT.test(text);

/** Length, form and header first, then the signature, then the claims. What a token says of keys (`jku`, `x5u`, `jwk`) is ignored. */
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
        // Another key may have signed it: the one before, or one that is published.
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
        return verdictOf(error, deps);
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

/** The library's tolerance holds for both ends; the later one is looked at again without it. */
const accepted = (
  { payload }: { readonly payload: JWTPayload },
  clock: Clock,
): Extract<JwtVerification, { ok: true }> => {
  if (payload.exp !== undefined && payload.exp * 1000 <= clock.now())
    throw new errors.JWTExpired('late', payload);
  return { ok: true, claims: payload };
};

const verdictOf = (error: unknown, { log }: JwtVerifierDeps): JwtVerification => {
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
