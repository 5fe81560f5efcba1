import { createHash } from 'node:crypto';
import type { Clock } from '@muster/kit/clock';
import { type UserClaims, userClaimsOf } from './id-token-claims.ts';
import type {
  IdTokenFault,
  IdTokenVerifier,
  LoginAtIssuer,
  OverLogins,
  TrustedToken,
  UsedTokens,
} from './oidc-ports.ts';
import { type Actor, type Idempotency, SYSTEM } from './ports.ts';
import type { Login, OpenResult, SessionService } from './sessions.ts';

/** A token, and what its bearer says of the client that shall have the session. */
export interface ExchangeRequest {
  readonly token: string;
  readonly kind: 'id_token' | 'jwt';
  /** What the client had put into the request for the token. */
  readonly nonce: string | undefined;
  /** The only tenant the caller may open sessions in; null for all. */
  readonly tenant: string | null;
  /** Where the request comes from. */
  readonly from: Omit<Actor, 'name'>;
  /** Who calls, if it is a back end. */
  readonly caller: Actor | undefined;
  /** The same request under the same key answers the same session. */
  readonly idempotency: Idempotency | undefined;
  readonly login: Pick<Login, 'transport' | 'remember' | 'label' | 'client' | 'ip'>;
}

export type ExchangeResult = OpenResult | { readonly ok: false; readonly why: IdTokenFault | 'tenant' };

/** Opens sessions for tokens of trusted issuers, one per token. Rejects with 503 codes only. */
export type IdTokenExchange = (request: ExchangeRequest) => Promise<ExchangeResult>;

export interface TokenExchangeDeps {
  readonly clock: Clock;
  readonly verifier: IdTokenVerifier;
  readonly used: UsedTokens;
  readonly over: OverLogins;
  readonly sessions: Pick<SessionService, 'open' | 'end'>;
  readonly onExchanged: (result: string) => void;
}

/** The exchange of RFC 8693, for tokens that prove a login. */
export const createTokenExchange =
  (deps: TokenExchangeDeps): IdTokenExchange =>
  async (request) => {
    const exchanged = await exchange(deps, request);
    deps.onExchanged(exchanged.ok ? 'opened' : exchanged.why);
    return exchanged;
  };

const exchange = async (deps: TokenExchangeDeps, request: ExchangeRequest): Promise<ExchangeResult> => {
  const verdict = await deps.verifier.verify(request.token, request.kind);
  if (!verdict.ok) return verdict;
  const { token } = verdict;
  const person = userClaimsOf(token, deps.clock.now());
  if (person === undefined) return { ok: false, why: 'claims' };
  if (request.nonce !== undefined && token.claims['nonce'] !== request.nonce) {
    return { ok: false, why: 'nonce' };
  }
  if (request.tenant !== null && request.tenant !== token.issuer.tenant) return { ok: false, why: 'tenant' };
  const login = { issuer: token.issuer.issuer, sid: person.sid, sub: person.sub };
  if (await deps.over.covers(login, token.issuedAt)) return { ok: false, why: 'logged_out' };
  if (!(await deps.used.take(token, takerOf(request)))) return { ok: false, why: 'replayed' };
  const opened = await openOrGiveBack(deps, request, token, person);
  // A logout that came in meanwhile has not seen this session.
  if (opened.ok && (await isOver(deps, login, token.issuedAt))) {
    await deps.sessions.end([opened.session.id], 'idp_logout', SYSTEM);
    return { ok: false, why: 'logged_out' };
  }
  return opened;
};

/** A repeat under the same key is the same taker, so that it gets the answer that was lost. */
const takerOf = ({ idempotency }: ExchangeRequest): string | undefined =>
  idempotency &&
  createHash('sha256')
    .update(`${idempotency.caller}\n${idempotency.key}\n`)
    .update(idempotency.requestHash)
    .digest('base64url');

/**
 * A login that came to nothing, for a fault or for the limit of sessions, may be tried again with the same token.
 * Under a key, a fault leaves the token to repeats with that key: one of them may have made the session.
 */
const openOrGiveBack = async (
  { sessions, used }: TokenExchangeDeps,
  request: ExchangeRequest,
  token: TrustedToken,
  person: UserClaims,
): Promise<OpenResult> => {
  const actor = request.caller ?? { ...request.from, name: `idp:${token.issuer.name}` };
  let opened: OpenResult | undefined;
  try {
    opened = await sessions.open(loginOf(request, token, person), actor, request.idempotency);
    return opened;
  } finally {
    const isRefused = opened?.ok === false && (opened.why === 'disabled' || opened.why === 'limit');
    const isFault = opened === undefined && request.idempotency === undefined;
    if (isRefused || isFault) await used.giveBack(token);
  }
};

const loginOf = ({ login }: ExchangeRequest, { issuer }: TrustedToken, person: UserClaims): Login => ({
  ...login,
  tenant: issuer.tenant,
  userId: person.userId,
  policy: undefined,
  country: null,
  auth: {
    time: person.authTime,
    aal: person.aal,
    amr: person.amr,
    idp: issuer.issuer,
    idpSid: person.sid,
    idpSub: person.sub,
  },
  actor: null,
  data: {},
  grants: [],
});

/** The first look has said no already; Redis failing between the two looks does not undo a login. */
const isOver = async (
  { over }: TokenExchangeDeps,
  login: LoginAtIssuer,
  issuedAt: number,
): Promise<boolean> => {
  try {
    return await over.covers(login, issuedAt);
  } catch {
    return false;
  }
};
