import { AppError } from '@muster/protocol/errors';
import { clearedCookie, sessionCookie } from '@muster/session/cookie';
import {
  ambiguousCredential,
  type CredentialStatus,
  firstLiveSession,
  readCredential,
} from '@muster/session/credential';
import { isRotationOpen } from '@muster/session/snapshot-check';
import type { Request, Response } from 'express';
import { type Authenticated, tenantOfAuthenticated } from '../core/authenticate.ts';
import { isCsrfToken } from '../core/csrf.ts';
import type { Actor } from '../core/ports.ts';
import type { LegacyImport } from '../legacy-import.ts';
import type { HttpContext } from './context.ts';
import { actorOf, foreignPage, originOf, userAgentOf, webClientOf } from './request.ts';

/** A caller with a live session. */
export type UserCaller = Extract<Authenticated, { ok: true }> & {
  readonly via: 'cookie' | 'bearer';
  readonly actor: Actor;
};

export interface UserGuardOptions {
  /** A request with a cookie must come from a page of an allowed origin. */
  readonly unsafe: boolean;
  /** `allowed`: an impersonated session may use the unsafe method. */
  readonly impersonated?: 'allowed' | undefined;
}

/** The guard of routes that require a session. Throws 401, 403, 429 and 503 codes. */
export const userGuard =
  (context: HttpContext, { unsafe, impersonated }: UserGuardOptions) =>
  async (req: Request, res: Response): Promise<UserCaller> => {
    const found = await findSession(context, req, res);
    if (!found.result.ok) throw await rejectionOf(context, found, req, res);
    const caller = { ...found.result, via: found.via, actor: actorOf(context, 'user', req) };
    context.limits.caller('session', caller.snapshot.id, res);
    confirmRotation(context, caller);
    if (unsafe && found.via === 'cookie') requireOwnOrigin(context, req, caller);
    if (unsafe && impersonated !== 'allowed') refuseImpersonated(caller);
    if (req.query['passive'] !== 'true') context.recordActivity(caller.snapshot);
    if (found.via === 'cookie' && caller.keyIndex > 0) renewSignature(context, res, caller, found.token);
    return caller;
  };

/** The guard of sign-out, which also admits sessions that have ended. */
export const logoutGuard =
  (context: HttpContext) =>
  async (
    req: Request,
    res: Response,
  ): Promise<UserCaller | { readonly hasEnded: true; readonly via: 'cookie' | 'bearer' }> => {
    const found = await findSession(context, req, res);
    if (found.result.ok) {
      const caller = { ...found.result, via: found.via, actor: actorOf(context, 'user', req) };
      if (found.via === 'cookie') requireOwnOrigin(context, req, caller);
      return caller;
    }
    if (found.result.why === 'ended') return { hasEnded: true, via: found.via };
    throw await rejectionOf(context, found, req, res);
  };

/** An actor may read, use groups and sign out, but not change the account. */
const refuseImpersonated = ({ snapshot }: UserCaller): void => {
  if (!snapshot.about?.actor) return;
  throw new AppError('FORBIDDEN', { detail: 'An impersonated session cannot change the account.' });
};

/** The Set-Cookie header with a session token. */
export const cookieFor = (
  { config, clock }: HttpContext,
  session: { expiresAt: number; remember: boolean },
  token: string,
): string => {
  const { name, secure, embed } = config.cookie;
  const maxAgeS = (session.expiresAt - clock.now()) / 1000;
  return sessionCookie(name, token, { secure, embed, ...(session.remember ? { maxAgeS } : {}) });
};

/** The Set-Cookie header that clears the session cookie. */
export const clearedSessionCookie = ({ config }: HttpContext): string =>
  clearedCookie(config.cookie.name, config.cookie);

/** Refuses a change by cookie from a page of another origin. */
const requireOwnOrigin = (context: HttpContext, req: Request, caller: UserCaller): void => {
  const origin = originOf(context, req);
  if (origin === 'ours') return;
  if (origin === 'foreign') throw foreignPage();
  if (isCsrfToken(context.keys, caller.snapshot, req.get('x-csrf-token'))) return;
  throw new AppError('CSRF', {
    detail: 'Send an Origin header, or X-CSRF-Token from GET /v1/session/csrf.',
  });
};

interface FoundSession {
  readonly result: Authenticated;
  readonly via: 'cookie' | 'bearer';
  readonly token: string;
}

/** The session of a request; without one, the imported session of express-session. */
const findSession = async (context: HttpContext, req: Request, res: Response): Promise<FoundSession> => {
  const own = await findOwn(context, req);
  const isMissing = own === undefined || (own.via === 'cookie' && !own.result.ok && own.result.why === 'invalid');
  const imported = isMissing && context.legacy ? await importSession(context, context.legacy, req, res) : undefined;
  const found = imported ?? own;
  if (found) return found;
  throw new AppError('NO_SESSION', { detail: 'Send a session cookie or a bearer token.' });
};

/** Checks one token. At the host of another tenant a session does not exist, live or ended. */
const check = async (
  { config, authenticate }: HttpContext,
  { hostname }: Request,
  token: string,
): Promise<Authenticated> => {
  const result = await authenticate(token);
  const { source } = result;
  if (!result.ok && result.why === 'invalid') return result;
  return config.tenantHosts.admits(hostname, tenantOfAuthenticated(result))
    ? result
    : { ok: false, why: 'invalid', source };
};

const importSession = async (
  context: HttpContext,
  legacy: LegacyImport,
  req: Request,
  res: Response,
): Promise<FoundSession | undefined> => {
  const imported = await legacy.importSession({
    cookieHeader: req.headers.cookie,
    client: webClientOf(req),
    actor: actorOf(context, 'legacy', req),
  });
  if (imported === undefined) return undefined;
  const { session, token } = imported;
  const cookie = cookieFor(context, { expiresAt: session.expiresAt, remember: session.about.remember }, token);
  const { name, secure } = context.config.cookie;
  const cleared = legacy.cookieName === name ? [] : [clearedCookie(legacy.cookieName, { secure })];
  res.setHeader('Set-Cookie', [cookie, ...cleared]);
  return { result: await check(context, req, token), via: 'cookie', token };
};

const findOwn = async (context: HttpContext, req: Request): Promise<FoundSession | undefined> => {
  const { via, tokens } = readCredential(req.headers, context.config.cookie.name);
  if (via === 'none') return undefined;
  if (via === 'ambiguous') throw ambiguousCredential();
  return firstLiveSession(
    tokens,
    async (token): Promise<FoundSession> => ({ result: await check(context, req, token), via, token }),
    ({ result }) => statusOf(result),
  );
};

const statusOf = (result: Authenticated): CredentialStatus => {
  if (result.ok) return 'live';
  if (result.why === 'invalid' && result.source === 'local') return 'forged';
  return result.why === 'reused' ? 'stale' : result.why;
};

const rejectionOf = async (
  context: HttpContext,
  { result, via }: FoundSession,
  req: Request,
  res: Response,
): Promise<AppError> => {
  if (result.ok) throw new TypeError('a live session is not rejected');
  switch (result.why) {
    case 'invalid':
      context.limits.badCredential('token', req);
      return new AppError('INVALID_TOKEN');
    case 'ended':
      if (via === 'cookie') res.setHeader('Set-Cookie', clearedSessionCookie(context));
      return new AppError('SESSION_ENDED', { extra: { end_reason: result.reason } });
    case 'reused':
      context.limits.staleSecret(result.record.id);
      await context.reuse.report(result.record, result.kind, {
        actor: actorOf(context, 'user', req),
        userAgent: userAgentOf(req),
      });
      return new AppError('STALE_TOKEN');
    default:
      return result satisfies never;
  }
};

/** The first use of the new secret starts the last 30 s of the previous one. */
const confirmRotation = (context: HttpContext, { secret, snapshot }: UserCaller): void => {
  if (secret === 'current' && isRotationOpen(snapshot, context.clock.now())) {
    void context.changes.confirm(snapshot.id, snapshot.rev);
  }
};

/** Replaces a cookie that an older signing key signed. */
const renewSignature = (context: HttpContext, res: Response, caller: UserCaller, token: string): void => {
  const verified = context.signer.verify(token);
  if (!verified.ok) return;
  const { snapshot } = caller;
  const session = { expiresAt: snapshot.expiresAt, remember: snapshot.about?.remember ?? true };
  res.setHeader('Set-Cookie', cookieFor(context, session, context.signer.issue(verified.id, verified.secret)));
};
