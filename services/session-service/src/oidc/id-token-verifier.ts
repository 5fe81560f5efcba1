import { createHash } from 'node:crypto';
import type { Clock } from '@muster/kit/clock';
import type { Jwks } from '@muster/kit/jwks';
import { verifyJwt } from '@muster/kit/jwt';
import { decodeJwt } from 'jose';
import type { IssuerConfig } from '../config-oidc.ts';
import type { IdTokenFault, IdTokenVerification, IdTokenVerifier, TokenKind } from '../core/oidc-ports.ts';

export interface IdTokenVerifierDeps {
  readonly clock: Clock;
  readonly issuers: readonly IssuerConfig[];
  readonly keysOf: (issuer: IssuerConfig) => Jwks;
}

/** Age of a token in seconds; after a day its user has a session of this service, or signs in again. */
const MAX_AGE_S = 86_400;

/** Accepted `typ` headers: a token of one kind must not pass for another (RFC 8725 §3.11). */
const TYPES: Readonly<Record<TokenKind, readonly string[]>> = {
  id_token: ['', 'jwt'],
  jwt: ['', 'jwt', 'at+jwt'],
  logout_token: ['', 'jwt', 'logout+jwt'],
};

/** Verifies tokens of the configured issuers with their published keys. */
export const createIdTokenVerifier = ({ clock, issuers, keysOf }: IdTokenVerifierDeps): IdTokenVerifier => {
  const byIssuer = new Map(issuers.map((issuer) => [issuer.issuer, { issuer, jwks: keysOf(issuer) }]));
  return {
    verify: async (text, kind) => {
      const iss = issuerOf(text);
      if (iss === undefined) return rejected('malformed');
      const found = byIssuer.get(iss);
      if (found === undefined) return rejected('unknown_issuer');
      const { issuer, jwks } = found;
      const requirements = {
        types: TYPES[kind],
        keys: [],
        published: { jwks, algorithms: issuer.algorithms },
        issuer: issuer.issuer,
        audience: issuer.audience,
        requiredClaims: ['exp', 'iat'],
        maxAgeS: MAX_AGE_S,
      };
      const result = await verifyJwt(text, requirements, clock.now());
      if (!result.ok) return rejected(result.fault);
      const { claims } = result;
      if ('events' in claims && kind !== 'logout_token') return rejected('type');
      const { iat = 0, exp = 0, jti } = claims;
      // A signature may have several spellings; the text that it signs has one.
      const name = typeof jti === 'string' && jti !== '' ? `jti\n${jti}` : text.slice(0, text.lastIndexOf('.'));
      const fingerprint = createHash('sha256').update(`${iss}\n${name}`).digest('base64url');
      return { ok: true, token: { issuer, claims, fingerprint, issuedAt: iat, expiresAt: exp * 1000 } };
    },
  };
};

const rejected = (why: IdTokenFault): IdTokenVerification => ({ ok: false, why });

/** Claim `iss` before the signature is verified; undefined for text that is not a JWT. */
const issuerOf = (text: string): string | undefined => {
  try {
    return String(decodeJwt(text).iss);
  } catch {
    return undefined;
  }
};
