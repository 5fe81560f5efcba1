import type { IncomingMessage } from 'node:http';
import type { Snapshot } from '@muster/session/session-snapshot';
import type { Requirements, SessionVerifier, VerifiedSession } from '@muster/session/session-verifier';
import type { RequestHandler } from 'express';

/** How a middleware decides. */
export interface SessionMiddlewareOptions {
  /** What a session must fulfil, or how to tell from the request. */
  readonly require?: Requirements | ((req: IncomingMessage) => Requirements);
  /** False lets requests without a usable session through; `sessionOf` is then undefined and `verdictOf` says why. */
  readonly autoError?: boolean;
  /** A rule of the application's own; false is a 403. */
  readonly allow?: (session: Snapshot, req: IncomingMessage) => boolean | Promise<boolean>;
}

interface Refusal {
  readonly status: number;
  readonly slug: string;
  readonly title: string;
}

const verdicts = new WeakMap<IncomingMessage, VerifiedSession>();
const RETRY_AFTER_S = '2';

/** The session of a request that passed the middleware. */
export const sessionOf = (req: IncomingMessage): Snapshot | undefined => {
  const verdict = verdicts.get(req);
  return verdict?.ok ? verdict.session : undefined;
};

/** What the middleware found out; undefined when it did not run. */
export const verdictOf = (req: IncomingMessage): VerifiedSession | undefined => verdicts.get(req);

/**
 * Express middleware: the request has a live session, or is answered 401, 403 or, when nobody could be asked,
 * 503 with `Retry-After`. Refusals are problem+json (RFC 9457).
 */
export const requireSession = (
  verifier: SessionVerifier,
  options: SessionMiddlewareOptions = {},
): RequestHandler => {
  const { require, autoError = true, allow } = options;
  return async (req, res, next) => {
    const demands = typeof require === 'function' ? require(req) : require;
    const verdict = await verifier.verify(req.headers, demands);
    verdicts.set(req, verdict);
    const isForbidden = verdict.ok && allow !== undefined && !(await allow(verdict.session, req));
    if ((verdict.ok && !isForbidden) || !autoError) return next();
    const refusal = isForbidden ? FORBIDDEN : refusalOf(verdict);
    if (refusal.status === 503) res.setHeader('Retry-After', RETRY_AFTER_S);
    if (refusal.status === 401) res.setHeader('WWW-Authenticate', 'Session');
    res.setHeader('Cache-Control', 'no-store');
    res.status(refusal.status).type('application/problem+json').send(problem(refusal, verdict));
  };
};

/** What an upgrade may do: the verdict, or that its page is not allowed to use the visitor's cookie. */
export type VerifiedUpgrade = VerifiedSession | { readonly ok: false; readonly why: 'origin' };

/**
 * Checks a WebSocket upgrade of a raw `http` server. A browser sends the cookie from any page, so a cookie counts
 * only with an `Origin` that is exactly one of `allowedOrigins`.
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

const FORBIDDEN: Refusal = { status: 403, slug: 'forbidden', title: 'Forbidden' };

const REFUSALS: Readonly<Record<Exclude<VerifiedSession, { ok: true }>['why'], Refusal>> = {
  none: { status: 401, slug: 'no-session', title: 'No session' },
  ambiguous: {
    status: 400,
    slug: 'malformed-request',
    title: 'A cookie and a bearer token of different sessions',
  },
  invalid: { status: 401, slug: 'invalid-token', title: 'Invalid token' },
  ended: { status: 401, slug: 'session-ended', title: 'Session ended' },
  step_up: { status: 403, slug: 'step-up-required', title: 'Step-up required' },
  unavailable: { status: 503, slug: 'overloaded', title: 'Sessions cannot be checked just now' },
};

const refusalOf = (verdict: VerifiedSession): Refusal => (verdict.ok ? FORBIDDEN : REFUSALS[verdict.why]);

const problem = ({ slug, title, status }: Refusal, verdict: VerifiedSession): string => {
  const ended = !verdict.ok && verdict.why === 'ended' ? { end_reason: verdict.reason } : {};
  const stepUp =
    !verdict.ok && verdict.why === 'step_up'
      ? { required_aal: verdict.require.aal, max_auth_age: verdict.require.maxAuthAgeS }
      : {};
  return JSON.stringify({ type: `/problems/${slug}`, title, status, ...ended, ...stepUp });
};
