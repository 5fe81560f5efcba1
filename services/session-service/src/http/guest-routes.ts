import { type Route, route } from '@muster/http/route';
import { AppError } from '@muster/protocol/errors';
import { DEFAULT_TENANT } from '@muster/protocol/ids';
import type { Request, Response } from 'express';
import type { Actor } from '../core/ports.ts';
import { COMMON_RESPONSES, FOREIGN_PAGE } from './authenticated-routes.ts';
import type { HttpContext } from './context.ts';
import { anonymousIdempotencyOf } from './idempotency.ts';
import { actorOf, refuseForeignPage, webClientOf } from './request.ts';
import { guestSessionBody, sessionCreatedSchema } from './schemas.ts';
import { sessionCreatedReply } from './session-response.ts';

/** The route that opens sessions without an account, if GUEST_SESSIONS is on. */
export const guestRoutes = (context: HttpContext): Route[] => [
  route({
    method: 'post',
    path: '/v1/guest-sessions',
    summary: 'Open a session for a guest',
    description:
      'With an `Idempotency-Key` header of at least 22 characters, repeats within 24 hours return the same session and token.',
    tags: ['user'],
    body: guestSessionBody,
    guard: (req, res) => guestGuard(context, req, res),
    responses: {
      201: { description: 'The session.', schema: sessionCreatedSchema },
      404: { description: 'Guest sessions are off.' },
      415: { description: 'The body is not application/json.' },
      429: { description: 'Too many guest sessions of this address, its network or the tenant.' },
      ...FOREIGN_PAGE,
      ...COMMON_RESPONSES,
    },
    handle: async ({ auth, body, req }) => {
      const client = webClientOf(req);
      const tenant = tenantOf(context, req);
      const idempotency = anonymousIdempotencyOf('guest', req, {
        tenant,
        userAgent: client.userAgent,
        ...body,
      });
      const opened = await context.sessions.open(
        {
          tenant,
          userId: null,
          policy: 'guest',
          transport: body.transport,
          remember: true,
          label: body.label ?? null,
          client,
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
  config.tenantHosts.tenantOf(hostname) ?? DEFAULT_TENANT;

const guestGuard = async (context: HttpContext, req: Request, res: Response): Promise<Actor> => {
  if (!context.config.guests.enabled) {
    throw new AppError('NOT_FOUND', { detail: 'Guest sessions are off. Set GUEST_SESSIONS=on.' });
  }
  refuseForeignPage(context, req);
  await context.limits.guest(req, res, tenantOf(context, req));
  return actorOf(context, 'guest', req);
};
