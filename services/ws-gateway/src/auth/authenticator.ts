import { type CredentialStatus, firstLiveSession } from '@muster/session/cookie-choice';
import type { Snapshot } from '@muster/session/session-snapshot';
import {
  evaluateSession,
  evaluateTicket,
  type SessionVerdict,
  type VerdictDeps,
} from '@muster/session/session-verdict';
import type { TenantHosts } from '@muster/session/tenant-hosts';
import { isTicket, type TicketStore } from '@muster/session/tickets';
import type { SessionId, TokenSigner } from '@muster/session/token';
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

export interface AuthenticatorDeps extends VerdictDeps {
  readonly signer: TokenSigner;
  readonly registry: SessionRegistry;
  readonly tickets: Pick<TicketStore, 'redeem'>;
  /** Tokens of the application, and clients without any. */
  readonly strangers: JwtAuthenticator;
  readonly tenantHosts: Omit<TenantHosts, 'hostOf'>;
  /** Everybody may do everything; for development. */
  readonly isInsecure: boolean;
  /** Counts verdicts by where they came from. */
  onVerdict(
    result: 'live' | 'invalid' | 'ended' | 'unavailable',
    source: 'local' | 'redis' | 'service',
  ): void;
}

/** {@link SessionAuthenticator}, and what can be told without asking anybody. */
export interface Authenticator extends SessionAuthenticator {
  /** Whether one of the tokens was signed by us. No I/O. */
  isGenuine(tokens: readonly string[]): boolean;
}

const GUEST_NAME_LENGTH = 8;

/** Signature first, then Redis, then the session service. Nothing is read before a signature holds; a ticket is looked up once. */
export const createAuthenticator = (deps: AuthenticatorDeps): Authenticator => {
  const { signer, registry } = deps;

  /** Before the question is asked: an end that is announced meanwhile must find the holder. */
  const decide = async (
    id: SessionId,
    { host }: PresentedCredential,
    holder: SessionHolder,
    ask: () => Promise<SessionVerdict>,
  ): Promise<AuthenticationResult> => {
    registry.hold(id, holder);
    const found = await ask();
    // At the host of another tenant a session does not exist, live or ended.
    const tenant = tenantIn(found);
    const isForeign = tenant.isKnown && !deps.tenantHosts.admits(host, tenant.name);
    const verdict: SessionVerdict = isForeign ? { is: 'invalid', from: 'service' } : found;
    deps.onVerdict(verdict.is, verdict.from);
    if (verdict.is !== 'live') registry.release(id, holder);
    return admissionOf(verdict, deps.isInsecure);
  };

  const admitTicket = async (
    ticket: string,
    shown: PresentedCredential,
    holder: SessionHolder,
  ): Promise<AuthenticationResult> => {
    try {
      const redeemed = await deps.tickets.redeem(ticket, shown.origin);
      if (redeemed !== undefined)
        return await decide(redeemed.id, shown, holder, () => evaluateTicket(deps, redeemed));
    } catch (error) {
      deps.log.debug({ error }, 'session.ticket_failed');
      deps.onVerdict('unavailable', 'redis');
      return { ok: false, why: 'unavailable' };
    }
    deps.onVerdict('invalid', 'redis');
    return { ok: false, why: 'invalid' };
  };

  /** Tickets, tokens of the application and session tokens are told apart by their form, before anybody is asked. */
  const admitToken = (
    text: string,
    shown: PresentedCredential,
    holder: SessionHolder,
  ): AuthenticationResult | Promise<AuthenticationResult> => {
    if (isTicket(text)) return admitTicket(text, shown, holder);
    if (isJwt(text)) return deps.strangers.admit(text, shown.host);
    const token = signer.verify(text);
    if (token.ok) return decide(token.id, shown, holder, () => evaluateSession(deps, token));
    deps.onVerdict('invalid', 'local');
    return FORGED;
  };

  return {
    isGenuine: (tokens) => tokens.some((token) => signer.verify(token).ok),
    admit: async (shown, holder) => {
      if (shown.tokens.length === 0) return deps.strangers.admitNobody(shown.host);
      const admission = await firstLiveSession(
        shown.tokens,
        (token) => admitToken(token, shown, holder),
        standingOf,
      );
      return admission ?? INVALID;
    },
    refresh: deps.strangers.refresh,
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

const INVALID: AuthenticationResult = { ok: false, why: 'invalid' };
/** Refused by its signature, without a look-up. */
const FORGED: AuthenticationResult = { ok: false, why: 'invalid' };

const standingOf = (admission: AuthenticationResult): CredentialStatus => {
  if (admission === FORGED) return 'forged';
  if (admission.ok) return 'live';
  return admission.why === 'ended' || admission.why === 'unavailable' ? admission.why : 'invalid';
};

/** The tenant of the session that a verdict is about, where there is one. */
const tenantIn = (
  verdict: SessionVerdict,
): { readonly isKnown: false } | { readonly isKnown: true; readonly name: string | undefined } => {
  if (verdict.is === 'live') return { isKnown: true, name: verdict.snapshot.tenant };
  return verdict.is === 'ended' ? { isKnown: true, name: verdict.tenant } : { isKnown: false };
};

const admissionOf = (verdict: SessionVerdict, isUnrestricted: boolean): AuthenticationResult => {
  switch (verdict.is) {
    case 'live':
      return {
        ok: true,
        identity: identityOfSession(verdict.snapshot, isUnrestricted),
      };
    case 'ended':
      return { ok: false, why: 'ended', reason: verdict.reason };
    default:
      return { ok: false, why: verdict.is };
  }
};

/** A guest has no user id; the beginning of its session id keeps two guests apart. */
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
