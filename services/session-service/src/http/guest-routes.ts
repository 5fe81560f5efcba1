import { type Route, route } from '@muster/http/route';
import { AppError } from '@muster/protocol/errors';
import type { Request, Response } from 'express';
import { checkOrigin } from '../core/csrf.ts';
import type { Actor } from '../core/ports.ts';
import { MAX_USER_AGENT, summarizeUserAgent } from '../core/user-agent.ts';
import type { HttpContext } from './context.ts';
import { anonymousIdempotencyOf } from './idempotency.ts';
import { guestSessionBody, sessionCreatedSchema } from './schemas.ts';
import { actorOf } from './session-guard.ts';
import { sessionCreatedReply } from './session-response.ts';

/** The route by which anybody opens a session without an account, where that is switched on. */
export const guestRoutes = (context: HttpContext): Route[] => [
  route({
    method: 'post',
    path: '/v1/guest-sessions',
    summary: 'Open a session for a guest',
    description:
      'With an `Idempotency-Key` header of at least 22 characters the same request answers the same session and token for a day.',
    tags: ['user'],
    body: guestSessionBody,
    guard: (req, res) => guestGuard(context, req, res),
    responses: {
      201: { description: 'The session.', schema: sessionCreatedSchema },
      403: { description: 'The request comes from a page of another site.' },
      404: { description: 'This service has no guest sessions.' },
      415: { description: 'The body is not application/json.' },
      422: { description: 'The body is not valid.' },
      429: { description: 'Too many guest sessions: of this address, of its network, or in all.' },
      503: { description: 'Cannot be done just now; try again.' },
    },
    handle: async ({ auth, body, req }) => {
      const userAgent = req.headers['user-agent']?.slice(0, MAX_USER_AGENT) || null;
      const tenant = tenantOf(context, req);
      const idempotency = anonymousIdempotencyOf('guest', req, { tenant, userAgent, ...body });
      const opened = await context.sessions.open(
        {
          tenant,
          userId: null,
          policy: 'guest',
          transport: body.transport,
          remember: true,
          label: body.label ?? null,
          client: { kind: 'web', summary: summarizeUserAgent(userAgent), userAgent, deviceId: null },
          ip: context.addresses.anonymize(req.ip),
          country: null,
          auth: { time: undefined, aal: 0, amr: [], idp: null, idpSid: null, idpSub: null },
          actor: null,
          data: body.data,
          grants: [],
        },
        auth,
        idempotency,
      );
      return sessionCreatedReply(context, opened);
    },
  }),
];

/** A guest belongs to the tenant of the host. */
const tenantOf = ({ config }: HttpContext, { hostname }: Request): string =>
  config.tenantHosts.tenantOf(hostname) ?? 'default';

const guestGuard = async (context: HttpContext, req: Request, res: Response): Promise<Actor> => {
  if (!context.config.guests.enabled)
    throw new AppError('NOT_FOUND', { detail: 'There are no guest sessions here.' });
  // A foreign page must not sign its visitors in as guests.
  const origin = checkOrigin(
    { secFetchSite: req.get('sec-fetch-site'), origin: req.get('origin') },
    context.config.allowedOrigins,
  );
  if (origin === 'foreign')
    throw new AppError('CSRF', { detail: 'This request comes from a page of another site.' });
  await context.limits.guest(req, res, tenantOf(context, req));
  return actorOf(context, 'guest', req);
};
