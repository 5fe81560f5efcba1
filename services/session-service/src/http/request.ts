import { requestIdOf } from '@muster/http/app';
import { AppError } from '@muster/protocol/errors';
import type { Request } from 'express';
import { checkOrigin } from '../core/csrf.ts';
import type { Actor } from '../core/ports.ts';
import { MAX_USER_AGENT, summarizeUserAgent } from '../core/user-agent.ts';
import type { HttpContext } from './context.ts';

/** The author of a request, for the audit log. */
export const actorOf = ({ addresses }: Pick<HttpContext, 'addresses'>, name: string, req: Request): Actor => ({
  name,
  ip: addresses.anonymize(req.ip),
  requestId: req.res === undefined ? null : requestIdOf(req.res),
});

/** The user agent of a request, at most 512 characters; null without one. */
export const userAgentOf = (req: Request): string | null => req.headers['user-agent']?.slice(0, MAX_USER_AGENT) || null;

/** The client of a request of a browser. */
export const webClientOf = (req: Request) => {
  const userAgent = userAgentOf(req);
  return { kind: 'web', summary: summarizeUserAgent(userAgent), userAgent, deviceId: null };
};

/** The origin of a request, compared with the allowed origins. */
export const originOf = ({ config }: HttpContext, req: Request): ReturnType<typeof checkOrigin> =>
  checkOrigin({ secFetchSite: req.get('sec-fetch-site'), origin: req.get('origin') }, config.allowedOrigins);

/** Throws `CSRF` for a page of another site, which must not sign its visitors in. */
export const refuseForeignPage = (context: HttpContext, req: Request): void => {
  if (originOf(context, req) === 'foreign') throw foreignPage();
};

export const foreignPage = (): AppError =>
  new AppError('CSRF', { detail: 'This request comes from a page of another site.' });
