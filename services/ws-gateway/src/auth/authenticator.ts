import { type CredentialStatus, firstLiveSession } from '@muster/session/credential';
import type { SessionCache } from '@muster/session/session-cache';
import {
  evaluateSession,
  evaluateTicket,
  type SessionDecision,
  type SessionDecisionDeps,
} from '@muster/session/session-decision';
import type { Snapshot } from '@muster/session/session-snapshot';
import type { TenantHosts } from '@muster/session/tenant-hosts';
import { isTicket, type TicketStore } from '@muster/session/tickets';
import type { SessionId, TokenSigner, VerifiedToken } from '@muster/session/token';
import type { MaybePromise } from '../core/maybe-promise.ts';
import type {
  AuthenticationResult,
  ClientIdentity,
  PresentedCredential,
  SessionAuthenticator,
  SessionHolder,
} from '../core/ports.ts';
import type { JwtAuthenticator } from './jwt-authenticator.ts';
import { isJwt } from './jwt-verifier.ts';
import type { SessionRegistry } from './session-registry.ts';

export interface AuthenticatorDeps extends SessionDecisionDeps {
  readonly signer: TokenSigner;
  readonly registry: SessionRegistry;
  /** Identities of sessions that were checked recently. */
  readonly cache: SessionCache<ClientIdentity>;
  readonly tickets: Pick<TicketStore, 'redeem'>;
  /** Authenticates JSON Web Tokens of the application, and anonymous clients. */
  readonly jwtAuthenticator: JwtAuthenticator;
  readonly tenantHosts: Omit<TenantHosts, 'hostOf'>;
  /** `CLIENT_INSECURE`: every client has every permission. For development. */
  readonly isInsecure: boolean;
  /** Called once per checked credential, with the source that decided. */
  onResult(result: 'live' | 'invalid' | 'ended' | 'unavailable', source: 'local' | 'redis' | 'service'): void;
}

/** {@link SessionAuthenticator} with a local check of signatures. */
export interface Authenticator extends SessionAuthenticator {
  /** True when one of the session tokens has a valid signature. No I/O. */
  hasValidSignature(tokens: readonly string[]): boolean;
}

const GUEST_NAME_LENGTH = 8;

/**
 * Checks the cache, then the signature, then Redis, then the session service. No I/O for an invalid signature; a ticket is redeemed
 * once.
 */
export const createAuthenticator = (deps: AuthenticatorDeps): Authenticator => {
  const { signer, registry } = deps;

  /** Registers the holder before the look-up, so that an end announced during it reaches the holder. */
  const checkSession = (
    text: string,
    token: Extract<VerifiedToken, { ok: true }>,
    shown: PresentedCredential,
    holder: SessionHolder,
  ): Promise<AuthenticationResult> => {
    registry.hold(token.id, holder);
    const query = deps.cache.query(text, token, () => evaluateSession(deps, token));
    return query.then((found) => conclude(deps, token.id, shown, holder, found));
  };
  /** Distinguishes tickets, JSON Web Tokens and session tokens by their form, before any look-up. */
  const authenticateToken = (
    text: string,
    shown: PresentedCredential,
    holder: SessionHolder,
  ): MaybePromise<AuthenticationResult> => {
    const identity = deps.cache.find(text);
    if (identity?.sessionId !== undefined && deps.tenantHosts.admits(shown.host, identity.tenant)) {
      registry.hold(identity.sessionId, holder);
      deps.onResult('live', 'local');
      return { ok: true, identity };
    }
    if (isTicket(text)) return authenticateTicket(deps, text, shown, holder);
    if (isJwt(text)) return deps.jwtAuthenticator.authenticate(text, shown.host);
    const token = signer.verify(text);
    if (token.ok) return checkSession(text, token, shown, holder);
    deps.onResult('invalid', 'local');
    return FORGED;
  };

  return {
    hasValidSignature: (tokens) => tokens.some((token) => signer.verify(token).ok),
    authenticate: (shown, holder) => {
      const [first, ...others] = shown.tokens;
      if (first === undefined) return deps.jwtAuthenticator.authenticateAnonymous(shown.host);
      // The usual case: one token decides by itself.
      if (others.length === 0) return authenticateToken(first, shown, holder);
      const check = (token: string) => authenticateToken(token, shown, holder);
      return firstLiveSession(shown.tokens, check, statusOf).then((result) => result ?? INVALID);
    },
    refresh: deps.jwtAuthenticator.refresh,
    transfer: (id, from, to) => {
      if (id === undefined) return;
      registry.hold(id, to);
      registry.release(id, from);
    },
    release: (id, holder) => {
      if (id !== undefined) registry.release(id, holder);
    },
  };
};

/** The result of a look-up. The holder of a session that is not live is released. */
const conclude = (
  { registry, tenantHosts, onResult, isInsecure }: AuthenticatorDeps,
  id: SessionId,
  { host }: PresentedCredential,
  holder: SessionHolder,
  found: SessionDecision,
): AuthenticationResult => {
  const tenant = tenantIn(found);
  // At the host of another tenant a session is unknown, live or ended.
  const isForeign = tenant.isKnown && !tenantHosts.admits(host, tenant.name);
  const checked: SessionDecision = isForeign ? { is: 'invalid', from: 'service' } : found;
  onResult(checked.is, checked.from);
  if (checked.is !== 'live') registry.release(id, holder);
  return resultOf(checked, isInsecure);
};

const authenticateTicket = async (
  deps: AuthenticatorDeps,
  ticket: string,
  shown: PresentedCredential,
  holder: SessionHolder,
): Promise<AuthenticationResult> => {
  try {
    const redeemed = await deps.tickets.redeem(ticket, shown.origin);
    if (redeemed !== undefined) {
      deps.registry.hold(redeemed.id, holder);
      return conclude(deps, redeemed.id, shown, holder, await evaluateTicket(deps, redeemed));
    }
  } catch (error) {
    deps.log.debug({ error }, 'session.ticket_failed');
    deps.onResult('unavailable', 'redis');
    return { ok: false, why: 'unavailable' };
  }
  deps.onResult('invalid', 'redis');
  return { ok: false, why: 'invalid' };
};

const INVALID: AuthenticationResult = { ok: false, why: 'invalid' };
/** Rejected for its signature, without a look-up. */
const FORGED: AuthenticationResult = { ok: false, why: 'invalid' };

const statusOf = (result: AuthenticationResult): CredentialStatus => {
  if (result === FORGED) return 'forged';
  if (result.ok) return 'live';
  return result.why === 'ended' || result.why === 'unavailable' ? result.why : 'invalid';
};

/** Tenant of the checked session, where the session exists. */
const tenantIn = (
  checked: SessionDecision,
): { readonly isKnown: false } | { readonly isKnown: true; readonly name: string | undefined } => {
  if (checked.is === 'live') return { isKnown: true, name: checked.snapshot.tenant };
  return checked.is === 'ended' ? { isKnown: true, name: checked.tenant } : { isKnown: false };
};

const resultOf = (checked: SessionDecision, isUnrestricted: boolean): AuthenticationResult => {
  switch (checked.is) {
    case 'live':
      return { ok: true, identity: identityOfSession(checked.snapshot, isUnrestricted) };
    case 'ended':
      return { ok: false, why: 'ended', reason: checked.reason };
    default:
      return { ok: false, why: checked.is };
  }
};

/** Identity of a client by its session. A guest has no user id; the first characters of its session id distinguish guests. */
export const identityOfSession = (
  { id, tenant, userId, expiresAt, grants, rev, aal, about }: Snapshot,
  isUnrestricted: boolean,
): ClientIdentity => ({
  tenant,
  sessionId: id,
  rev,
  user: userId ?? `guest:${id.slice(0, GUEST_NAME_LENGTH)}`,
  expiresAt,
  aal,
  ...(about === undefined ? {} : { authTime: about.auth.time ?? 0 }),
  ...(grants === undefined ? {} : { grants }),
  ...(isUnrestricted && { isUnrestricted }),
});
