import { requestIdOf } from '@muster/http/app';
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
import { checkOrigin, isCsrfToken } from '../core/csrf.ts';
import type { Actor } from '../core/ports.ts';
import { MAX_USER_AGENT, summarizeUserAgent } from '../core/user-agent.ts';
import type { LegacyImport } from '../legacy-import.ts';
import type { HttpContext } from './context.ts';

/** A caller who has shown a session. */
export type UserCaller = Extract<Authenticated, { ok: true }> & {
  readonly via: 'cookie' | 'bearer';
  readonly actor: Actor;
};

/** What a guard does about a session that is over. */
interface UserGuardOptions {
  /** Unsafe methods with a cookie must come from our own pages. */
  readonly unsafe: boolean;
  /** An unsafe method that an impersonated session may use, too. */
  readonly impersonated?: 'allowed';
}

/** The guard of routes for whoever holds a session. Throws 401, 403 and 503 codes. */
export const userGuard =
  (context: HttpContext, { unsafe, impersonated }: UserGuardOptions) =>
  async (req: Request, res: Response): Promise<UserCaller> => {
    const found = await findSession(context, req, res);
    if (!found.verdict.ok) throw await refusal(context, found, req, res);
    const caller = { ...found.verdict, via: found.via, actor: actorOf(context, 'user', req) };
    context.limits.caller('session', caller.snapshot.id, res);
    confirmSecret(context, caller);
    if (unsafe && found.via === 'cookie') requireOwnOrigin(context, req, caller);
    if (unsafe && impersonated !== 'allowed') refuseImpersonated(caller);
    if (req.query['passive'] !== 'true') context.recordActivity(caller.snapshot);
    if (found.via === 'cookie' && caller.keyIndex > 0) resign(context, res, caller, found.token);
    return caller;
  };

/** The guard of logout, which also lets those in whose session is over already. */
export const logoutGuard =
  (context: HttpContext) =>
  async (
    req: Request,
    res: Response,
  ): Promise<UserCaller | { readonly over: true; readonly via: 'cookie' | 'bearer' }> => {
    const found = await findSession(context, req, res);
    if (found.verdict.ok) {
      const caller = { ...found.verdict, via: found.via, actor: actorOf(context, 'user', req) };
      if (found.via === 'cookie') requireOwnOrigin(context, req, caller);
      return caller;
    }
    if (found.verdict.why === 'ended') return { over: true, via: found.via };
    throw await refusal(context, found, req, res);
  };

/** Who acts as a user reads, uses groups and signs out, and changes nothing of the account. */
const refuseImpersonated = ({ snapshot }: UserCaller): void => {
  if (!snapshot.about?.actor) return;
  throw new AppError('FORBIDDEN', { detail: 'An impersonated session cannot change the account.' });
};

/** Who did something, for the log book. */
export const actorOf = (
  { addresses }: Pick<HttpContext, 'addresses'>,
  name: string,
  req: Request,
): Actor => ({
  name,
  ip: addresses.anonymize(req.ip),
  requestId: req.res === undefined ? null : requestIdOf(req.res),
});

/** The Set-Cookie header for a session's token. */
export const cookieFor = (
  { config, clock }: HttpContext,
  session: { expiresAt: number; remember: boolean },
  token: string,
): string => {
  const { name, secure, embed } = config.cookie;
  const maxAgeS = (session.expiresAt - clock.now()) / 1000;
  return sessionCookie(name, token, { secure, embed, ...(session.remember ? { maxAgeS } : {}) });
};

/** The Set-Cookie header that takes the cookie away. */
export const noCookie = ({ config }: HttpContext): string => clearedCookie(config.cookie.name, config.cookie);

/** Refuses a change by cookie that does not come from one of our pages. */
const requireOwnOrigin = (context: HttpContext, req: Request, caller: UserCaller): void => {
  const origin = checkOrigin(
    { secFetchSite: headerOf(req, 'sec-fetch-site'), origin: headerOf(req, 'origin') },
    context.config.allowedOrigins,
  );
  if (origin === 'ours') return;
  const token = headerOf(req, 'x-csrf-token');
  if (origin === 'unknown' && isCsrfToken(context.keys, caller.snapshot, token)) return;
  throw new AppError('CSRF', {
    detail:
      origin === 'foreign'
        ? 'This request comes from a page of another site.'
        : 'Send an Origin header, or X-CSRF-Token from GET /v1/session/csrf.',
  });
};

interface Found {
  readonly verdict: Authenticated;
  readonly via: 'cookie' | 'bearer';
  readonly token: string;
}

/** The session of a request; where it has none, that of express-session which it may still have. */
const findSession = async (context: HttpContext, req: Request, res: Response): Promise<Found> => {
  const own = await findOwn(context, req);
  const isNobody =
    own === undefined || (own.via === 'cookie' && !own.verdict.ok && own.verdict.why === 'invalid');
  const adopted = isNobody && context.legacy ? await adopt(context, context.legacy, req, res) : undefined;
  const found = adopted ?? own;
  if (found) return found;
  throw new AppError('NO_SESSION', { detail: 'Send a session cookie or a bearer token.' });
};

/** Checks one token of a request. At the host of another tenant a session does not exist, live or ended. */
const check = async (
  { config, authenticate }: HttpContext,
  { hostname }: Request,
  token: string,
): Promise<Authenticated> => {
  const verdict = await authenticate(token);
  const { source } = verdict;
  if (!verdict.ok && verdict.why === 'invalid') return verdict;
  return config.tenantHosts.admits(hostname, tenantOfAuthenticated(verdict))
    ? verdict
    : { ok: false, why: 'invalid', source };
};

const adopt = async (
  context: HttpContext,
  legacy: LegacyImport,
  req: Request,
  res: Response,
): Promise<Found | undefined> => {
  const userAgent = headerOf(req, 'user-agent')?.slice(0, MAX_USER_AGENT) || null;
  const adopted = await legacy.importSession({
    cookieHeader: req.headers.cookie,
    client: { kind: 'web', summary: summarizeUserAgent(userAgent), userAgent, deviceId: null },
    actor: actorOf(context, 'legacy', req),
  });
  if (adopted === undefined) return undefined;
  const { session, token } = adopted;
  const mine = cookieFor(context, { expiresAt: session.expiresAt, remember: session.about.remember }, token);
  const { name, secure } = context.config.cookie;
  const theirs = legacy.cookieName === name ? [] : [clearedCookie(legacy.cookieName, { secure })];
  res.setHeader('Set-Cookie', [mine, ...theirs]);
  return { verdict: await check(context, req, token), via: 'cookie', token };
};

const findOwn = async (context: HttpContext, req: Request): Promise<Found | undefined> => {
  const { via, tokens } = readCredential(req.headers, context.config.cookie.name);
  if (via === 'none') return undefined;
  if (via === 'ambiguous') throw ambiguousCredential();
  return firstLiveSession(
    tokens,
    async (token): Promise<Found> => ({ verdict: await check(context, req, token), via, token }),
    ({ verdict }) => standingOf(verdict),
  );
};

const standingOf = (verdict: Authenticated): CredentialStatus => {
  if (verdict.ok) return 'live';
  if (verdict.why === 'invalid' && verdict.source === 'local') return 'forged';
  return verdict.why === 'reused' ? 'stale' : verdict.why;
};

const refusal = async (
  context: HttpContext,
  { verdict, via }: Found,
  req: Request,
  res: Response,
): Promise<AppError> => {
  if (verdict.ok) throw new TypeError('a good session is not refused');
  switch (verdict.why) {
    case 'invalid':
      context.limits.badCredential('token', req);
      return new AppError('INVALID_TOKEN');
    case 'ended':
      if (via === 'cookie') res.setHeader('Set-Cookie', noCookie(context));
      return new AppError('SESSION_ENDED', { extra: { end_reason: verdict.reason } });
    case 'reused':
      context.limits.staleSecret(verdict.record.id);
      await context.reuse.report(verdict.record, verdict.kind, {
        actor: actorOf(context, 'user', req),
        userAgent: headerOf(req, 'user-agent')?.slice(0, MAX_USER_AGENT) ?? null,
      });
      return new AppError('STALE_TOKEN');
    default:
      return verdict satisfies never;
  }
};

/** The new secret of a rotation is in use: from now on the old one has its last 30 s. */
const confirmSecret = (context: HttpContext, { secret, snapshot }: UserCaller): void => {
  const isWaiting = isRotationOpen(snapshot, context.clock.now());
  if (secret === 'current' && isWaiting) void context.changes.confirm(snapshot.id, snapshot.rev);
};

/** A cookie that an old key signed is answered with one that the first key signs. */
const resign = (context: HttpContext, res: Response, caller: UserCaller, token: string): void => {
  const verified = context.signer.verify(token);
  if (!verified.ok) return;
  const { snapshot } = caller;
  const session = { expiresAt: snapshot.expiresAt, remember: snapshot.about?.remember ?? true };
  res.setHeader(
    'Set-Cookie',
    cookieFor(context, session, context.signer.issue(verified.id, verified.secret)),
  );
};

const headerOf = (req: Request, name: string): string | undefined => {
  const value = req.headers[name];
  return Array.isArray(value) ? value[0] : value;
};
