import type { Clock } from '@muster/kit/clock';
import { DEFAULT_TENANT } from '@muster/protocol/ids';
import type { TenantHosts } from '@muster/session/tenant-hosts';
import type {
  AuthenticationResult,
  ClientIdentity,
  SubscriptionGrant,
  SubscriptionTokenReader,
} from '../core/ports.ts';
import { readConnectionClaims, readSubscriptionClaims } from './claims.ts';
import type { JwtFault, JwtVerification, JwtVerifier } from './jwt-verifier.ts';

/** How a token fared; the label of a counter. */
export type JwtResult =
  | 'accepted'
  | 'expired'
  | 'not_yet'
  | 'unavailable'
  | 'no_user'
  | 'tenant'
  | 'sub_not_text'
  | JwtFault;

export interface JwtAuthenticatorDeps {
  readonly clock: Clock;
  readonly verifier: JwtVerifier;
  readonly tenantHosts: Omit<TenantHosts, 'hostOf'>;
  /** Clients may come in without any credential, and with tokens that name no user. */
  readonly allowsAnonymous: boolean;
  /** Everybody may do everything; for development. */
  readonly isInsecure: boolean;
  onToken(kind: 'connection' | 'subscription', result: JwtResult): void;
}

/** Whoever comes without a session: with a token that the application signed, or with nothing. */
export interface JwtAuthenticator {
  admit(token: string, host: string | undefined): Promise<AuthenticationResult>;
  /** Somebody who shows nothing. */
  admitNobody(host: string | undefined): AuthenticationResult;
  refresh(token: string, host: string | undefined): Promise<AuthenticationResult>;
  readonly permits: SubscriptionTokenReader;
  /** Whether a key that signed a token, of a connection or a subscription, has not been taken away. */
  isTokenKeyValid(key: object): boolean;
}

export const createJwtAuthenticator = (deps: JwtAuthenticatorDeps): JwtAuthenticator => {
  const { verifier, allowsAnonymous, isInsecure, onToken } = deps;

  const admit = async (token: string, host: string | undefined): Promise<AuthenticationResult> => {
    const verdict = await verifier.verify(token);
    if (!verdict.ok) {
      onToken('connection', verdict.why === 'invalid' ? verdict.fault : verdict.why);
      return refusalOf(verdict);
    }
    const claims = readConnectionClaims(verdict.claims);
    if (claims === undefined) {
      const fault = claimFaultOf(verdict.claims);
      onToken('connection', fault);
      return { ok: false, why: 'invalid', fault };
    }
    if (claims.user === '' && !allowsAnonymous && !isInsecure) {
      onToken('connection', 'no_user');
      return { ok: false, why: 'no_user' };
    }
    const tenant = claims.tenant ?? tenantAt(deps, host);
    if (!deps.tenantHosts.admits(host, tenant)) {
      onToken('connection', 'tenant');
      return { ok: false, why: 'invalid', fault: 'tenant' };
    }
    onToken('connection', 'accepted');
    const identity = { sessionId: undefined, ...claims, tenant, ...signedBy(verdict) };
    return { ok: true, identity: markedIf(isInsecure, identity) };
  };

  return {
    admit,
    admitNobody: (host) =>
      allowsAnonymous || isInsecure
        ? { ok: true, identity: markedIf(isInsecure, { ...NOBODY, tenant: tenantAt(deps, host) }) }
        : { ok: false, why: 'none' },
    refresh: async (token, host) =>
      verifier.isConfigured() ? admit(token, host) : { ok: false, why: 'none' },
    permits: { read: (token) => readPermit(deps, token) },
    isTokenKeyValid: verifier.isValidKey,
  };
};

/** A token that is not good yet is like one that has run out: its client fetches another. */
const whyNot = ({ why }: Exclude<JwtVerification, { ok: true }>): 'expired' | 'unavailable' | 'invalid' =>
  why === 'not_yet' ? 'expired' : why;

const refusalOf = (verdict: Extract<JwtVerification, { ok: false }>): AuthenticationResult =>
  verdict.why === 'invalid'
    ? { ok: false, why: 'invalid', fault: verdict.fault }
    : { ok: false, why: whyNot(verdict) };

/** The most frequent mistake has a name of its own: a user id that is a number. */
const claimFaultOf = ({ sub }: { readonly sub?: unknown }): 'sub_not_text' | 'claims' =>
  sub !== undefined && typeof sub !== 'string' ? 'sub_not_text' : 'claims';

/** Who names no tenant is of the one whose host was called. */
const tenantAt = ({ tenantHosts }: JwtAuthenticatorDeps, host: string | undefined): string =>
  tenantHosts.tenantOf(host) ?? DEFAULT_TENANT;

const NOBODY: Omit<ClientIdentity, 'tenant'> = {
  sessionId: undefined,
  user: '',
  expiresAt: Number.POSITIVE_INFINITY,
};

const markedIf = (isInsecure: boolean, identity: ClientIdentity): ClientIdentity =>
  isInsecure ? { ...identity, isUnrestricted: true } : identity;

const readPermit = async (
  { verifier, onToken }: JwtAuthenticatorDeps,
  token: string,
): Promise<SubscriptionGrant> => {
  if (!verifier.isConfigured()) return { ok: false, why: 'none' };
  const verdict = await verifier.verify(token);
  if (!verdict.ok) {
    onToken('subscription', verdict.why === 'invalid' ? verdict.fault : verdict.why);
    return { ok: false, why: whyNot(verdict) };
  }
  const claims = readSubscriptionClaims(verdict.claims);
  onToken('subscription', claims === undefined ? 'claims' : 'accepted');
  return claims === undefined ? { ok: false, why: 'invalid' } : { ok: true, ...claims, ...signedBy(verdict) };
};

/** Published keys have no end here: whoever publishes them ends their tokens. */
const signedBy = ({ key }: Extract<JwtVerification, { ok: true }>): { readonly tokenKey?: object } =>
  key === undefined ? {} : { tokenKey: key };
