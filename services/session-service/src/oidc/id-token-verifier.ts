import { createHash } from 'node:crypto';
import type { Clock } from '@muster/kit/clock';
import type { Jwks } from '@muster/kit/jwks';
import { decodeJwt, decodeProtectedHeader, errors, type JWTPayload, jwtVerify } from 'jose';
import type { IssuerConfig } from '../config-oidc.ts';
import type { IdTokenFault, IdTokenVerification, IdTokenVerifier, TokenKind } from '../core/oidc-ports.ts';

export interface IdTokenVerifierDeps {
  readonly clock: Clock;
  readonly issuers: readonly IssuerConfig[];
  readonly keysOf: (issuer: IssuerConfig) => Jwks;
}

const SKEW_S = 60;
/** Whoever signed in longer ago has had a session of ours since, or should sign in again. */
const MAX_AGE_S = 86_400;

/** `typ` headers by kind of token; a token of one kind must not pass for another (RFC 8725, section 3.11). */
const TYPES: Readonly<Record<TokenKind, readonly string[]>> = {
  id_token: ['', 'jwt'],
  jwt: ['', 'jwt', 'at+jwt'],
  logout_token: ['', 'jwt', 'logout+jwt'],
};

/** Verifies tokens of the configured issuers by their published keys. What a token says of keys (`jku`, `x5u`, `jwk`) is ignored. */
export const createIdTokenVerifier = ({ clock, issuers, keysOf }: IdTokenVerifierDeps): IdTokenVerifier => {
  const known = new Map(issuers.map((issuer) => [issuer.issuer, { issuer, keys: keysOf(issuer) }]));
  return {
    verify: async (text, kind) => {
      const read = readUnverified(text);
      if (read === undefined) return refuse('malformed');
      const from = known.get(String(read.payload.iss));
      if (from === undefined) return refuse('unknown_issuer');
      if (!TYPES[kind].includes(read.type)) return refuse('type');
      const { issuer, keys } = from;
      try {
        const { payload } = await jwtVerify(text, (header) => keys.find(header), {
          algorithms: [...issuer.algorithms],
          issuer: issuer.issuer,
          audience: [...issuer.audience],
          clockTolerance: SKEW_S,
          maxTokenAge: MAX_AGE_S,
          requiredClaims: ['exp', 'iat'],
          currentDate: new Date(clock.now()),
        });
        return judge(payload, { text, kind, issuer, now: clock.now() });
      } catch (error) {
        return refuse(faultOf(error));
      }
    },
  };
};

const refuse = (why: IdTokenFault): IdTokenVerification => ({ ok: false, why });

interface Judged {
  readonly text: string;
  readonly kind: TokenKind;
  readonly issuer: IssuerConfig;
  readonly now: number;
}

const judge = (payload: JWTPayload, { text, kind, issuer, now }: Judged): IdTokenVerification => {
  const { iat = 0, exp = 0, jti } = payload;
  // The minute of grace is for clocks that are ahead of ours; nobody needs a token that is over.
  if (exp * 1000 <= now) return refuse('expired');
  if ('events' in payload && kind !== 'logout_token') return refuse('type');
  // A signature may have several spellings; what it signs has one.
  const name = typeof jti === 'string' && jti !== '' ? `jti\n${jti}` : text.slice(0, text.lastIndexOf('.'));
  const fingerprint = createHash('sha256').update(`${issuer.issuer}\n${name}`).digest('base64url');
  return {
    ok: true,
    token: { issuer, claims: payload, fingerprint, issuedAt: iat, expiresAt: exp * 1000 },
  };
};

const readUnverified = (text: string): { payload: JWTPayload; type: string } | undefined => {
  try {
    const { typ = '' } = decodeProtectedHeader(text);
    const type = typeof typ === 'string' ? typ.toLowerCase().replace(/^application\//, '') : 'none';
    return { payload: decodeJwt(text), type };
  } catch {
    return undefined;
  }
};

const faultOf = (error: unknown): IdTokenFault => {
  if (error instanceof errors.JWTExpired) return 'expired';
  if (error instanceof errors.JWTClaimValidationFailed) {
    if (error.claim === 'aud') return 'audience';
    return error.claim === 'nbf' || error.claim === 'iat' ? 'not_yet' : 'claims';
  }
  if (error instanceof errors.JOSEAlgNotAllowed || error instanceof errors.JOSENotSupported) {
    return 'algorithm';
  }
  if (error instanceof errors.JWKSNoMatchingKey || error instanceof errors.JWKSMultipleMatchingKeys) {
    return 'unknown_key';
  }
  if (error instanceof errors.JWSSignatureVerificationFailed) return 'signature';
  if (error instanceof errors.JOSEError) return 'malformed';
  throw error;
};
