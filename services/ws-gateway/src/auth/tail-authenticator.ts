import type { Clock } from '@muster/kit/clock';
import type { Logger } from '@muster/kit/logger';
import { isTenantName, TAIL_USER } from '@muster/protocol/ids';
import { isTailToken, TAIL_TOKEN_ISSUER, TAIL_TOKEN_LIFETIME_MS, tailTokenKey } from '@muster/session/tail-token';
import type { TenantHosts } from '@muster/session/tenant-hosts';
import type { AuthenticationResult, ServerSubscription } from '../core/ports.ts';
import { type JwtAuthenticator, type JwtAuthenticatorDeps, rejectionOf } from './jwt-authenticator.ts';
import { createJwtVerifier, type TokenFault } from './jwt-verifier.ts';
import type { ServerApiKey } from './server-api-keys.ts';

/** How far the clock of the aggregator that issued a token may be ahead, ms. */
const CLOCK_SKEW_MS = 60_000;

/** Receives publications: it appears in no presence, sends no join or leave, and receives none. */
const TERMS: ServerSubscription = {
  override: { presence: false, joinLeave: false, forcePushJoinLeave: false },
};

interface TailClaims {
  readonly tenant: string;
  readonly group: string;
  readonly expiresAt: number;
}

export interface TailTokenDeps {
  readonly clock: Clock;
  readonly log: Logger;
  readonly tenantHosts: Pick<TenantHosts, 'admits'>;
  /** Read for each token; the same array until the configuration is reloaded. */
  serverApiKeys(): readonly ServerApiKey[];
  readonly onToken: JwtAuthenticatorDeps['onToken'];
}

/**
 * Adds tail tokens to a JWT authenticator: an aggregator signs one for an operator with a key derived from a server API key. The
 * connection receives one group and may do nothing else. The token of a tenant's API key is accepted for that tenant only.
 */
export const withTailTokens = (jwt: JwtAuthenticator, deps: TailTokenDeps): JwtAuthenticator => {
  const keys = derivedKeys(deps.serverApiKeys);
  const verifier = createJwtVerifier({
    clock: deps.clock,
    log: deps.log,
    published: undefined,
    rules: () => ({
      keys: keys().map(({ key }) => ({ algorithms: ['HS256'], key })),
      audience: [],
      issuer: TAIL_TOKEN_ISSUER,
    }),
  });

  const reject = (fault: TokenFault | 'tenant'): AuthenticationResult => {
    deps.onToken('connection', fault);
    return fault === 'tenant' ? { ok: false, why: 'invalid', fault } : rejectionOf(fault);
  };
  const isForeign = ({ tenant }: TailClaims, tokenKey: object | undefined, host: string | undefined) => {
    const source = keys().find(({ key }) => key === tokenKey);
    if (source === undefined || !deps.tenantHosts.admits(host, tenant)) return true;
    return source.tenant !== undefined && source.tenant !== tenant;
  };
  const authenticateTail = async (token: string, host: string | undefined): Promise<AuthenticationResult> => {
    const verified = await verifier.verify(token);
    if (!verified.ok) return reject(verified.fault);
    const { key: tokenKey } = verified;
    const claims = readTailClaims(verified.claims, deps.clock.now());
    if (claims === undefined || tokenKey === undefined) return reject('claims');
    if (isForeign(claims, tokenKey, host)) return reject('tenant');
    deps.onToken('connection', 'accepted');
    const { tenant, group, expiresAt } = claims;
    const subs = new Map([[group, TERMS]]);
    const identity = { sessionId: undefined, user: TAIL_USER, isReceiveOnly: true };
    return { ok: true, identity: { ...identity, tenant, expiresAt, subs, tokenKey } };
  };

  return {
    ...jwt,
    authenticate: (token, host) => (isTailToken(token) ? authenticateTail(token, host) : jwt.authenticate(token, host)),
    refresh: (token, host) => (isTailToken(token) ? authenticateTail(token, host) : jwt.refresh(token, host)),
    isTokenKeyValid: (key) => jwt.isTokenKeyValid(key) || verifier.isValidKey(key),
  };
};

/** Keys of tail tokens by server API key, derived once for each configuration. */
const derivedKeys = (serverApiKeys: () => readonly ServerApiKey[]) => {
  let source: readonly ServerApiKey[] = [];
  let derived: readonly {
    readonly key: ReturnType<typeof tailTokenKey>;
    readonly tenant: string | undefined;
  }[] = [];
  return () => {
    const current = serverApiKeys();
    if (current !== source) {
      source = current;
      derived = current.map(({ key, tenant }) => ({ key: tailTokenKey(key), tenant }));
    }
    return derived;
  };
};

/** The claims `tenant group exp`; undefined when one is missing or malformed, or when the token lives longer than a minute. */
const readTailClaims = (claims: Readonly<Record<string, unknown>>, now: number): TailClaims | undefined => {
  const { tenant, group, exp } = claims;
  if (typeof tenant !== 'string' || !isTenantName(tenant)) return undefined;
  if (typeof group !== 'string' || group === '' || typeof exp !== 'number') return undefined;
  const expiresAt = exp * 1_000;
  return expiresAt - now > TAIL_TOKEN_LIFETIME_MS + CLOCK_SKEW_MS ? undefined : { tenant, group, expiresAt };
};
