import type { IncomingMessage } from 'node:http';
import type { Snapshot } from '@muster/session/session-snapshot';
import type { Requirements, SessionVerifier, VerifiedSession } from '@muster/session/session-verifier';
import type { RequestHandler } from 'express';

export interface SessionMiddlewareOptions {
  /** Requirements of a session, or a function of the request that returns them. */
  readonly require?: Requirements | ((req: IncomingMessage) => Requirements);
  /** False lets requests without a usable session through; `sessionOf` is then undefined and `verificationOf` has the reason. */
  readonly autoError?: boolean;
  /** Additional check of the application; false is answered with 403. */
  readonly allow?: (session: Snapshot, req: IncomingMessage) => boolean | Promise<boolean>;
}

interface Rejection {
  readonly status: number;
  readonly slug: string;
  readonly title: string;
}

/** A property rather than a WeakMap, which costs every garbage collection an extra pass over its entries. */
const VERIFIED = Symbol('verified session');
interface VerifiedRequest extends IncomingMessage {
  [VERIFIED]?: VerifiedSession;
}
const RETRY_AFTER_S = '2';

/** Session of a request that passed the middleware. */
export const sessionOf = (req: IncomingMessage): Snapshot | undefined => {
  const verified = verificationOf(req);
  return verified?.ok ? verified.session : undefined;
};

/** Result of the middleware; undefined when it did not run. */
export const verificationOf = (req: IncomingMessage): VerifiedSession | undefined => (req as VerifiedRequest)[VERIFIED];

/**
 * Express middleware: passes requests with a live session; answers others with 401, 403 or, when no store is available,
 * 503 with `Retry-After`, as problem+json (RFC 9457).
 */
export const requireSession = (verifier: SessionVerifier, options: SessionMiddlewareOptions = {}): RequestHandler => {
  const { require, autoError = true, allow } = options;
  return async (req, res, next) => {
    const requirements = typeof require === 'function' ? require(req) : require;
    const verified = await verifier.verify(req.headers, requirements);
    (req as VerifiedRequest)[VERIFIED] = verified;
    const isForbidden = verified.ok && allow !== undefined && !(await allow(verified.session, req));
    if ((verified.ok && !isForbidden) || !autoError) return next();
    const rejection = isForbidden ? FORBIDDEN : rejectionOf(verified);
    if (rejection.status === 503) res.setHeader('Retry-After', RETRY_AFTER_S);
    if (rejection.status === 401) res.setHeader('WWW-Authenticate', 'Session');
    res.setHeader('Cache-Control', 'no-store');
    res.status(rejection.status).type('application/problem+json').send(problem(rejection, verified));
  };
};

/** Result for an upgrade; `origin`: its page is not allowed to use the cookie. */
export type VerifiedUpgrade = VerifiedSession | { readonly ok: false; readonly why: 'origin' };

/**
 * Verifies a WebSocket upgrade of a Node `http` server. Browsers send the cookie from any page, so a cookie requires an
 * `Origin` that is exactly one of `allowedOrigins`.
 */
export const verifyUpgrade = async (
  verifier: SessionVerifier,
  req: IncomingMessage,
  allowedOrigins: readonly string[],
): Promise<VerifiedUpgrade> => {
  const { origin, authorization } = req.headers;
  const usesCookie = authorization === undefined;
  const isForeign = origin === undefined ? usesCookie : !allowedOrigins.includes(origin);
  if (isForeign) return { ok: false, why: 'origin' };
  return verifier.verify(req.headers);
};

const FORBIDDEN: Rejection = { status: 403, slug: 'forbidden', title: 'Forbidden' };

const REJECTIONS: Readonly<Record<Exclude<VerifiedSession, { ok: true }>['why'], Rejection>> = {
  none: { status: 401, slug: 'no-session', title: 'No session' },
  ambiguous: {
    status: 400,
    slug: 'malformed-request',
    title: 'A cookie and a bearer token of different sessions',
  },
  invalid: { status: 401, slug: 'invalid-token', title: 'Invalid token' },
  ended: { status: 401, slug: 'session-ended', title: 'Session ended' },
  step_up: { status: 403, slug: 'step-up-required', title: 'Step-up required' },
  unavailable: { status: 503, slug: 'overloaded', title: 'Sessions cannot be checked' },
};

const rejectionOf = (verified: VerifiedSession): Rejection => (verified.ok ? FORBIDDEN : REJECTIONS[verified.why]);

const problem = ({ slug, title, status }: Rejection, verified: VerifiedSession): string => {
  const ended = !verified.ok && verified.why === 'ended' ? { end_reason: verified.reason } : {};
  const stepUp =
    !verified.ok && verified.why === 'step_up'
      ? { required_aal: verified.require.aal, max_auth_age: verified.require.maxAuthAgeS }
      : {};
  return JSON.stringify({ type: `/problems/${slug}`, title, status, ...ended, ...stepUp });
};
