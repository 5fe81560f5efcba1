import { createHash } from 'node:crypto';
import type { Clock } from '@muster/kit/clock';
import { type UserClaims, userClaimsOf } from './id-token-claims.ts';
import type {
  EndedLogins,
  IdTokenFault,
  IdTokenVerifier,
  LoginAtIssuer,
  TrustedToken,
  UsedTokens,
} from './oidc-ports.ts';
import { type Actor, type Idempotency, SYSTEM } from './ports.ts';
import type { Login, OpenResult, SessionService } from './session-service.ts';

/** A token and the client for which the session is opened. */
export interface ExchangeRequest {
  readonly token: string;
  readonly kind: 'id_token' | 'jwt';
  /** The nonce of the client's request to the issuer. */
  readonly nonce: string | undefined;
  /** The only tenant of the caller; null for all. */
  readonly tenant: string | null;
  /** Address and id of the request. */
  readonly from: Omit<Actor, 'name'>;
  /** The back end that calls; undefined for a client. */
  readonly caller: Actor | undefined;
  /** Repeats under the same key return the same session. */
  readonly idempotency: Idempotency | undefined;
  readonly login: Pick<Login, 'transport' | 'remember' | 'label' | 'client' | 'ip'>;
}

type ExchangeResult = OpenResult | { readonly ok: false; readonly why: IdTokenFault | 'tenant' };

/** Opens one session per token of a configured issuer. Rejects with 503 codes only. */
export type IdTokenExchange = ReturnType<typeof createTokenExchange>;

interface TokenExchangeDeps {
  readonly clock: Clock;
  readonly verifier: IdTokenVerifier;
  readonly used: UsedTokens;
  readonly endedLogins: EndedLogins;
  readonly sessions: Pick<SessionService, 'open' | 'end'>;
  readonly onExchanged: (result: string) => void;
}

/** Token exchange (RFC 8693) for tokens that prove a login. */
export const createTokenExchange =
  (deps: TokenExchangeDeps) =>
  async (request: ExchangeRequest): Promise<ExchangeResult> => {
    const exchanged = await exchange(deps, request);
    deps.onExchanged(exchanged.ok ? 'opened' : exchanged.why);
    return exchanged;
  };

const exchange = async (deps: TokenExchangeDeps, request: ExchangeRequest): Promise<ExchangeResult> => {
  const verified = await deps.verifier.verify(request.token, request.kind);
  if (!verified.ok) return verified;
  const { token } = verified;
  const user = userClaimsOf(token, deps.clock.now());
  if (user === undefined) return { ok: false, why: 'claims' };
  if (request.nonce !== undefined && token.claims['nonce'] !== request.nonce) {
    return { ok: false, why: 'nonce' };
  }
  if (request.tenant !== null && request.tenant !== token.issuer.tenant) return { ok: false, why: 'tenant' };
  const login = { issuer: token.issuer.issuer, sid: user.sid, sub: user.sub };
  if (await deps.endedLogins.covers(login, token.issuedAt)) return { ok: false, why: 'logged_out' };
  if (!(await deps.used.claim(token, claimantOf(request)))) return { ok: false, why: 'replayed' };
  const opened = await openOrRelease(deps, request, token, user);
  // A logout that arrived meanwhile has not ended this session.
  if (opened.ok && (await hasEnded(deps, login, token.issuedAt))) {
    await deps.sessions.end([opened.session.id], 'idp_logout', SYSTEM);
    return { ok: false, why: 'logged_out' };
  }
  return opened;
};

/** Repeats under one key are the same claimant, so that they receive a response that was lost. */
const claimantOf = ({ idempotency }: ExchangeRequest): string | undefined =>
  idempotency &&
  createHash('sha256')
    .update(`${idempotency.caller}\n${idempotency.key}\n`)
    .update(idempotency.requestHash)
    .digest('base64url');

/**
 * Opens the session and releases the token when the login failed for a fault or the session limit, so that it can be
 * used again. Under an idempotency key a fault keeps the claim: a repeat with the key may have opened the session.
 */
const openOrRelease = async (
  { sessions, used }: TokenExchangeDeps,
  request: ExchangeRequest,
  token: TrustedToken,
  user: UserClaims,
): Promise<OpenResult> => {
  const actor = request.caller ?? { ...request.from, name: `idp:${token.issuer.name}` };
  let opened: OpenResult | undefined;
  try {
    opened = await sessions.open(loginOf(request, token, user), actor, request.idempotency);
    return opened;
  } finally {
    const isRefused = opened?.ok === false && (opened.why === 'disabled' || opened.why === 'limit');
    const isFault = opened === undefined && request.idempotency === undefined;
    if (isRefused || isFault) await used.release(token);
  }
};

const loginOf = ({ login }: ExchangeRequest, { issuer }: TrustedToken, user: UserClaims): Login => ({
  ...login,
  tenant: issuer.tenant,
  userId: user.userId,
  policy: undefined,
  country: null,
  auth: {
    time: user.authTime,
    aal: user.aal,
    amr: user.amr,
    idp: issuer.issuer,
    idpSid: user.sid,
    idpSub: user.sub,
  },
  actor: null,
  data: {},
  grants: [],
});

/** The second check of the login. The first check passed, so a fault of Redis here does not undo the login. */
const hasEnded = async (
  { endedLogins }: TokenExchangeDeps,
  login: LoginAtIssuer,
  issuedAt: number,
): Promise<boolean> => {
  try {
    return await endedLogins.covers(login, issuedAt);
  } catch {
    return false;
  }
};
