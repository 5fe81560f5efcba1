import type { JwtFault } from '@muster/kit/jwt';

/** What a token is taken for: proof of a login, or news that one is over. */
export type TokenKind = 'id_token' | 'jwt' | 'logout_token';

/** Reason why a token is rejected. */
export type IdTokenFault = JwtFault | 'unknown_issuer' | 'nonce' | 'replayed' | 'logged_out';

/** What the rules need to know of an issuer. */
export interface IssuerRules {
  readonly name: string;
  readonly issuer: string;
  readonly userIdClaim: string;
  readonly userIdPrefix: string;
  readonly tenant: string;
}

/** A token whose signature, issuer, audience and times are right. */
export interface TrustedToken {
  readonly issuer: IssuerRules;
  readonly claims: Readonly<Record<string, unknown>>;
  /** Names this token among all; the same for every spelling of its signature. */
  readonly fingerprint: string;
  /** When it was made, in s since the epoch. */
  readonly issuedAt: number;
  /** Ms since the epoch. */
  readonly expiresAt: number;
}

export type IdTokenVerification =
  | { readonly ok: true; readonly token: TrustedToken }
  | { readonly ok: false; readonly why: IdTokenFault };

/** Rejects with `ISSUER_UNAVAILABLE` when the keys cannot be had: a fault is never a refusal. */
export interface IdTokenVerifier {
  verify(text: string, kind: TokenKind): Promise<IdTokenVerification>;
}

/** Remembers which tokens were used. Rejects with `REDIS_UNAVAILABLE`. */
export interface UsedTokens {
  /** True for the first who asks, within the life of the token, and for those who name the same `taker`. */
  take(token: TrustedToken, taker?: string): Promise<boolean>;
  /** The use came to nothing: the token is good once more. Never rejects. */
  giveBack(token: TrustedToken): Promise<void>;
}

/** A login at an identity provider: one session there, or everything of a person up to an instant. */
export interface LoginAtIssuer {
  readonly issuer: string;
  readonly sid: string | null;
  readonly sub: string | null;
}

/** Remembers which logins at issuers are over, for as long as their tokens could come. Rejects with `REDIS_UNAVAILABLE`. */
export interface OverLogins {
  add(login: LoginAtIssuer, issuedAt: number): Promise<void>;
  /** True for a token of a session that is over, or made before its person was logged out everywhere. */
  covers(login: LoginAtIssuer, issuedAt: number): Promise<boolean>;
}
