import type { JwtFault } from '@muster/kit/jwt';

/** The kind of a token: proof of a login, or notice of a logout. */
export type TokenKind = 'id_token' | 'jwt' | 'logout_token';

/** Reason why a token is rejected. */
export type IdTokenFault = JwtFault | 'unknown_issuer' | 'nonce' | 'replayed' | 'logged_out';

/** The configuration of an issuer that the core uses. */
export interface IssuerRules {
  /** Short name for logs, metrics and user ids. */
  readonly name: string;
  /** The exact value of `iss`. */
  readonly issuer: string;
  readonly userIdClaim: string;
  /** Prefix of the user id, so that two issuers do not share users. */
  readonly userIdPrefix: string;
  readonly tenant: string;
}

/** A token with a valid signature, issuer, audience and lifetime. */
export interface TrustedToken {
  readonly issuer: IssuerRules;
  readonly claims: Readonly<Record<string, unknown>>;
  /** Identifies the token, independent of the encoding of its signature. */
  readonly fingerprint: string;
  /** Seconds since the epoch. */
  readonly issuedAt: number;
  /** Ms since the epoch. */
  readonly expiresAt: number;
}

export type IdTokenVerification =
  | { readonly ok: true; readonly token: TrustedToken }
  | { readonly ok: false; readonly why: IdTokenFault };

/** Verifies tokens. Rejects with `ISSUER_UNAVAILABLE` when the keys cannot be fetched: a fault is never a refusal. */
export interface IdTokenVerifier {
  verify(text: string, kind: TokenKind): Promise<IdTokenVerification>;
}

/** Records which tokens were used. Rejects with `REDIS_UNAVAILABLE`. */
export interface UsedTokens {
  /** True for the first claimant within the lifetime of the token, and for repeats of the same claimant. */
  claim(token: TrustedToken, claimant?: string): Promise<boolean>;
  /** Undoes a claim: the token can be used once more. Never rejects. */
  release(token: TrustedToken): Promise<void>;
}

/** A login at an issuer: one session (`sid`), or all logins of a user (`sub`) up to an instant. */
export interface LoginAtIssuer {
  readonly issuer: string;
  readonly sid: string | null;
  readonly sub: string | null;
}

/** Records which logins have ended at their issuers, for the lifetime of their tokens. Rejects with `REDIS_UNAVAILABLE`. */
export interface EndedLogins {
  add(login: LoginAtIssuer, issuedAt: number): Promise<void>;
  /** True for a token of an ended session, or issued before its user was logged out everywhere. */
  covers(login: LoginAtIssuer, issuedAt: number): Promise<boolean>;
}
