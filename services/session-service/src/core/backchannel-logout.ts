import { isId } from './id-token-claims.ts';
import type {
  IdTokenFault,
  IdTokenVerifier,
  LoginAtIssuer,
  OverLogins,
  TrustedToken,
  UsedTokens,
} from './oidc-ports.ts';
import type { Actor, SearchFilter } from './ports.ts';
import type { SessionAdmin } from './session-admin.ts';

export type LogoutResult =
  | { readonly ok: true; readonly ended: number }
  | { readonly ok: false; readonly why: IdTokenFault };

/** Ends the sessions that a logout token names. Rejects with 503 codes only. */
export type BackchannelLogout = (token: string, from: Omit<Actor, 'name'>) => Promise<LogoutResult>;

export interface BackchannelLogoutDeps {
  readonly verifier: IdTokenVerifier;
  readonly used: UsedTokens;
  readonly over: OverLogins;
  readonly admin: Pick<SessionAdmin, 'endMatching'>;
  readonly onLogout: (result: string) => void;
}

const EVENT = 'http://schemas.openid.net/event/backchannel-logout';

/** OpenID Connect Back-Channel Logout 1.0. */
export const createBackchannelLogout =
  (deps: BackchannelLogoutDeps): BackchannelLogout =>
  async (text, from) => {
    const done = await logOut(deps, text, from);
    deps.onLogout(done.ok ? 'done' : done.why);
    return done;
  };

const logOut = async (
  deps: BackchannelLogoutDeps,
  text: string,
  from: Omit<Actor, 'name'>,
): Promise<LogoutResult> => {
  const verdict = await deps.verifier.verify(text, 'logout_token');
  if (!verdict.ok) return verdict;
  const { token } = verdict;
  const login = loginIn(token);
  if (login === undefined) return { ok: false, why: 'claims' };
  if (!(await deps.used.take(token))) return { ok: false, why: 'replayed' };
  try {
    // First the mark, then the end: a login under way meets one of the two.
    await deps.over.add(login, token.issuedAt);
    return { ok: true, ended: await endAll(deps, token, login, from) };
  } catch (error) {
    await deps.used.giveBack(token);
    throw error;
  }
};

/** Section 2.4: an event of the right kind, no nonce, an id of its own, and a session or a person. */
const loginIn = ({ issuer, claims }: TrustedToken): LoginAtIssuer | undefined => {
  const { events, sid, sub, jti } = claims;
  const isLogout = isObject(events) && isObject(events[EVENT]);
  if (!isLogout || 'nonce' in claims || typeof jti !== 'string' || jti === '') return undefined;
  if (![sid, sub].every((one) => one === undefined || isId(one)) || (sid ?? sub) === undefined) {
    return undefined;
  }
  return { issuer: issuer.issuer, sid: (sid as string) ?? null, sub: (sub as string) ?? null };
};

const isObject = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

const endAll = async (
  { admin }: BackchannelLogoutDeps,
  { issuer }: TrustedToken,
  { sid, sub }: LoginAtIssuer,
  from: Omit<Actor, 'name'>,
): Promise<number> => {
  const filter: SearchFilter = {
    tenant: issuer.tenant,
    state: 'all',
    idp: issuer.issuer,
    ...(sid === null ? {} : { idpSid: sid }),
    ...(sub === null ? {} : { idpSub: sub }),
  };
  for (let ended = 0; ; ) {
    const batch = await admin.endMatching(filter, 'idp_logout', { ...from, name: `idp:${issuer.name}` });
    ended += batch.ended;
    if (!batch.more) return ended;
  }
};
