import type { Clock } from '@muster/kit/clock';
import type { Admission, Identity, Permit, PermitReader } from '../core/ports.ts';
import { readConnectionClaims, readSubscriptionClaims } from './claims.ts';
import type { TokenFault, TokenVerifier } from './token-verifier.ts';

/** How a token fared; the label of a counter. */
export type TokenResult = 'accepted' | 'expired' | 'unavailable' | 'no_user' | TokenFault;

export interface StrangersDeps {
  readonly clock: Clock;
  readonly verifier: TokenVerifier;
  /** Clients may come in without any credential, and with tokens that name no user. */
  readonly allowsAnonymous: boolean;
  /** Everybody may do everything; for development. */
  readonly isInsecure: boolean;
  onToken(kind: 'connection' | 'subscription', result: TokenResult): void;
}

/** Whoever comes without a session: with a token that the application signed, or with nothing. */
export interface Strangers {
  admit(token: string): Promise<Admission>;
  /** Somebody who shows nothing. */
  admitNobody(): Admission;
  refresh(token: string): Promise<Admission>;
  readonly permits: PermitReader;
}

export const createStrangers = (deps: StrangersDeps): Strangers => {
  const { verifier, allowsAnonymous, isInsecure, onToken } = deps;

  const admit = async (token: string): Promise<Admission> => {
    const verdict = await verifier.verify(token);
    if (!verdict.ok) {
      onToken('connection', verdict.why === 'invalid' ? verdict.fault : verdict.why);
      return { ok: false, why: verdict.why };
    }
    const claims = readConnectionClaims(verdict.claims);
    if (claims === undefined) {
      onToken('connection', 'claims');
      return { ok: false, why: 'invalid' };
    }
    if (claims.user === '' && !allowsAnonymous && !isInsecure) {
      onToken('connection', 'no_user');
      return { ok: false, why: 'no_user' };
    }
    onToken('connection', 'accepted');
    return { ok: true, identity: markedIf(isInsecure, { sessionId: undefined, ...claims }) };
  };

  return {
    admit,
    admitNobody: () =>
      allowsAnonymous || isInsecure
        ? { ok: true, identity: markedIf(isInsecure, NOBODY) }
        : { ok: false, why: 'none' },
    refresh: async (token) => (verifier.isConfigured() ? admit(token) : { ok: false, why: 'none' }),
    permits: { read: (token) => readPermit(deps, token) },
  };
};

const NOBODY: Identity = { sessionId: undefined, user: '', expiresAt: Number.POSITIVE_INFINITY };

const markedIf = (isInsecure: boolean, identity: Identity): Identity =>
  isInsecure ? { ...identity, isUnrestricted: true } : identity;

const readPermit = async ({ verifier, onToken }: StrangersDeps, token: string): Promise<Permit> => {
  if (!verifier.isConfigured()) return { ok: false, why: 'none' };
  const verdict = await verifier.verify(token);
  if (!verdict.ok) {
    onToken('subscription', verdict.why === 'invalid' ? verdict.fault : verdict.why);
    return { ok: false, why: verdict.why };
  }
  const claims = readSubscriptionClaims(verdict.claims);
  onToken('subscription', claims === undefined ? 'claims' : 'accepted');
  return claims === undefined ? { ok: false, why: 'invalid' } : { ok: true, ...claims };
};
