import { isId } from './id-token-claims.ts';
import type {
  EndedLogins,
  IdTokenFault,
  IdTokenVerifier,
  LoginAtIssuer,
  TrustedToken,
  UsedTokens,
} from './oidc-ports.ts';
import type { Actor, SearchFilter } from './ports.ts';
import type { SessionAdmin } from './session-admin.ts';

type LogoutResult = { readonly ok: true; readonly ended: number } | { readonly ok: false; readonly why: IdTokenFault };

/** Ends the sessions of a logout token. Rejects with 503 codes only. */
export type BackchannelLogout = ReturnType<typeof createBackchannelLogout>;

interface BackchannelLogoutDeps {
  readonly verifier: IdTokenVerifier;
  readonly used: UsedTokens;
  readonly endedLogins: EndedLogins;
  readonly admin: Pick<SessionAdmin, 'endMatching'>;
  readonly onLogout: (result: string) => void;
}

const EVENT = 'http://schemas.openid.net/event/backchannel-logout';

/** OpenID Connect Back-Channel Logout 1.0. */
export const createBackchannelLogout =
  (deps: BackchannelLogoutDeps) =>
  async (text: string, from: Omit<Actor, 'name'>): Promise<LogoutResult> => {
    const done = await logOut(deps, text, from);
    deps.onLogout(done.ok ? 'done' : done.why);
    return done;
  };

const logOut = async (deps: BackchannelLogoutDeps, text: string, from: Omit<Actor, 'name'>): Promise<LogoutResult> => {
  const verified = await deps.verifier.verify(text, 'logout_token');
  if (!verified.ok) return verified;
  const { token } = verified;
  const login = loginIn(token);
  if (login === undefined) return { ok: false, why: 'claims' };
  if (!(await deps.used.claim(token))) return { ok: false, why: 'replayed' };
  try {
    // The mark first, then the end: a login in progress is stopped by one of the two.
    await deps.endedLogins.add(login, token.issuedAt);
    return { ok: true, ended: await endAll(deps, token, login, from) };
  } catch (error) {
    await deps.used.release(token);
    throw error;
  }
};

/** The login of a logout token by section 2.4: the logout event, no nonce, a `jti`, and `sid` or `sub`. */
const loginIn = ({ issuer, claims }: TrustedToken): LoginAtIssuer | undefined => {
  const { events, sid, sub, jti } = claims;
  const isLogout = isObject(events) && isObject(events[EVENT]);
  if (!isLogout || 'nonce' in claims || typeof jti !== 'string' || jti === '') return undefined;
  const areValid = [sid, sub].every((id) => id === undefined || isId(id));
  if (!areValid || (sid ?? sub) === undefined) return undefined;
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
