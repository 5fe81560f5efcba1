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
import type { JwtVerifier, TokenFault, TokenVerification } from './jwt-verifier.ts';

/** Result of a token check; the `result` label of `gateway_token_checks_total`. */
export type TokenCheckResult = 'accepted' | 'no_user' | 'tenant' | 'sub_not_text' | TokenFault;

export interface JwtAuthenticatorDeps {
  readonly clock: Clock;
  readonly verifier: JwtVerifier;
  readonly tenantHosts: Omit<TenantHosts, 'hostOf'>;
  /** `ALLOW_ANONYMOUS`: no credential, and tokens without `sub`, are accepted. */
  readonly allowsAnonymous: boolean;
  /** `CLIENT_INSECURE`: every client has every permission. For development. */
  readonly isInsecure: boolean;
  onToken(kind: 'connection' | 'subscription', result: TokenCheckResult): void;
}

export type JwtAuthenticator = ReturnType<typeof createJwtAuthenticator>;

/** Authenticates clients without a session: by a JSON Web Token of the application, or anonymously. */
export const createJwtAuthenticator = (deps: JwtAuthenticatorDeps) => {
  const { verifier, allowsAnonymous, isInsecure, onToken } = deps;

  const authenticate = async (token: string, host: string | undefined): Promise<AuthenticationResult> => {
    const verified = await verifier.verify(token);
    if (!verified.ok) {
      onToken('connection', verified.fault);
      return rejectionOf(verified.fault);
    }
    const claims = readConnectionClaims(verified.claims);
    if (claims === undefined) {
      const fault = claimFaultOf(verified.claims);
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
    const identity = { sessionId: undefined, ...claims, tenant, ...signedBy(verified) };
    return { ok: true, identity: markedIf(isInsecure, identity) };
  };

  const reader: SubscriptionTokenReader = { read: (token) => readSubscriptionToken(deps, token) };
  return {
    authenticate,
    /** The result for a client without a credential. */
    authenticateAnonymous: (host: string | undefined): AuthenticationResult =>
      allowsAnonymous || isInsecure
        ? { ok: true, identity: markedIf(isInsecure, { ...ANONYMOUS, tenant: tenantAt(deps, host) }) }
        : { ok: false, why: 'none' },
    refresh: async (token: string, host: string | undefined): Promise<AuthenticationResult> =>
      verifier.isConfigured() ? authenticate(token, host) : { ok: false, why: 'none' },
    subscriptionTokens: reader,
    /** True while the key that signed a connection or subscription token is configured. */
    isTokenKeyValid: verifier.isValidKey,
  };
};

/** A token whose `nbf` is in the future is reported as expired: the client fetches another token. */
const reasonOf = (fault: TokenFault): 'expired' | 'unavailable' | 'invalid' => {
  if (fault === 'expired' || fault === 'not_yet') return 'expired';
  return fault === 'unavailable' ? 'unavailable' : 'invalid';
};

export const rejectionOf = (fault: TokenFault): AuthenticationResult => {
  const why = reasonOf(fault);
  return why === 'invalid' ? { ok: false, why, fault } : { ok: false, why };
};

/** The most frequent mistake, a numeric user id, has a fault of its own. */
const claimFaultOf = ({ sub }: { readonly sub?: unknown }): 'sub_not_text' | 'claims' =>
  sub !== undefined && typeof sub !== 'string' ? 'sub_not_text' : 'claims';

/** Tenant of a client whose credential has no `tenant`: that of the host, else the default one. */
const tenantAt = ({ tenantHosts }: JwtAuthenticatorDeps, host: string | undefined): string =>
  tenantHosts.tenantOf(host) ?? DEFAULT_TENANT;

const ANONYMOUS: Omit<ClientIdentity, 'tenant'> = {
  sessionId: undefined,
  user: '',
  expiresAt: Number.POSITIVE_INFINITY,
};

const markedIf = (isInsecure: boolean, identity: ClientIdentity): ClientIdentity =>
  isInsecure ? { ...identity, isUnrestricted: true } : identity;

const readSubscriptionToken = async (
  { verifier, onToken }: JwtAuthenticatorDeps,
  token: string,
): Promise<SubscriptionGrant> => {
  if (!verifier.isConfigured()) return { ok: false, why: 'none' };
  const verified = await verifier.verify(token);
  if (!verified.ok) {
    onToken('subscription', verified.fault);
    return { ok: false, why: reasonOf(verified.fault) };
  }
  const claims = readSubscriptionClaims(verified.claims);
  onToken('subscription', claims === undefined ? 'claims' : 'accepted');
  return claims === undefined ? { ok: false, why: 'invalid' } : { ok: true, ...claims, ...signedBy(verified) };
};

/** Undefined for published keys: their removal at the JWKS URL does not close connections. */
const signedBy = ({ key }: Extract<TokenVerification, { ok: true }>): { readonly tokenKey?: object } =>
  key === undefined ? {} : { tokenKey: key };
