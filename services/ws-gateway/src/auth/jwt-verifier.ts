import type { KeyObject } from 'node:crypto';
import type { Clock } from '@muster/kit/clock';
import type { Jwks } from '@muster/kit/jwks';
import { ASYMMETRIC_ALGORITHMS, type JwtFault, type JwtRequirements, type JwtResult, verifyJwt } from '@muster/kit/jwt';
import type { Logger } from '@muster/kit/logger';
import { AppError } from '@muster/protocol/errors';

/** Reason why a token of the application is not accepted. `unavailable`: its keys could not be fetched. */
export type TokenFault = JwtFault | 'too_long' | 'unavailable';

export type TokenVerification = Extract<JwtResult, { ok: true }> | { readonly ok: false; readonly fault: TokenFault };

/** Keys and required claims of the tokens of the application. */
export type JwtRules = Pick<JwtRequirements, 'keys' | 'audience' | 'issuer'>;

export interface JwtVerifierDeps {
  readonly clock: Clock;
  readonly log: Logger;
  /** Called for each token, so that a reload replaces keys. */
  rules(): JwtRules;
  /** JWKS at a URL. */
  readonly published: Jwks | undefined;
}

export type JwtVerifier = ReturnType<typeof createJwtVerifier>;

/** Characters of a token; a longer one is rejected unread. */
export const MAX_JWT_LENGTH = 16_384;

/** No `typ`, or one of a token for a server (RFC 9068). */
const TYPES = ['', 'jwt', 'at+jwt'];
// A JSON object in base64url starts with `ey`; the second character of a session token is a hexadecimal digit.
const JWT = /^ey[\w-]*\.[\w-]*\.[\w-]*$/;

/** True for text in the form of a JWT; session tokens and tickets never have it. */
export const isJwt = (text: string): boolean => JWT.test(text);

/** Verifies tokens of the application with configured and published keys. */
export const createJwtVerifier = ({ clock, log, rules, published }: JwtVerifierDeps) => {
  const jwks = published && { jwks: published, algorithms: ASYMMETRIC_ALGORITHMS };
  return {
    /** Never rejects. */
    verify: async (token: string): Promise<TokenVerification> => {
      if (token.length > MAX_JWT_LENGTH) return { ok: false, fault: 'too_long' };
      try {
        return await verifyJwt(token, { ...rules(), types: TYPES, published: jwks }, clock.now());
      } catch (error) {
        if (!(error instanceof AppError)) log.error({ error }, 'token.check_failed');
        return { ok: false, fault: 'unavailable' };
      }
    },
    /** True if any key is configured or published. */
    isConfigured: (): boolean => published !== undefined || rules().keys.length > 0,
    /** True while a key that verified a token is still configured. */
    isValidKey: (used: object): boolean => rules().keys.some(({ key }) => key.equals(used as KeyObject)),
  };
};
