import type { IncomingMessage } from 'node:http';
import type { Route, RouteReply } from '@muster/http/route';
import { AppError } from '@muster/protocol/errors';
import { parseSessionId } from '@muster/session/token';
import { z } from 'zod';
import { shortenIp } from '../core/ip-address.ts';
import { END_REASONS } from '../core/session-record.ts';
import type { Login } from '../core/session-service.ts';
import { summarizeUserAgent } from '../core/user-agent.ts';
import { serviceRoute } from './authenticated-routes.ts';
import type { HttpContext } from './context.ts';
import { idempotencyOf } from './idempotency.ts';
import { requireImpersonation } from './impersonation-routes.ts';
import { ENDED_RESPONSES, endedReply } from './own-session-routes.ts';
import {
  type CreateSessionBody,
  createSessionBody,
  sessionCreatedSchema,
  sessionIdSchema,
  sessionSchema,
} from './schemas.ts';
import { isVisible, requireGrantable, requireVisible, type ServiceCaller, tenantFor } from './service-guard.ts';
import { etagOf, sessionDto } from './session-dto.ts';
import { sessionCreatedReply } from './session-response.ts';

const params = z.object({ id: sessionIdSchema });

/** Routes on single sessions, for back ends. */
export const serviceRoutes = (context: HttpContext): Route[] => [
  createSession(context),
  getSession(context),
  endSession(context),
];

export const CREATE_SESSION_PATH = '/v1/sessions';
export const CREATE_SESSION_SCOPE = 'sessions:create';

const createSession = (context: HttpContext): Route =>
  serviceRoute(context, CREATE_SESSION_SCOPE, {
    method: 'post',
    path: CREATE_SESSION_PATH,
    summary: 'Open a session for a user who has signed in',
    description:
      'With transport "bearer" the token is in the body, once; with "cookie" it is in Set-Cookie. ' +
      'With an `Idempotency-Key` header, repeats within 24 hours return the same session and token.',
    body: createSessionBody,
    responses: {
      201: { description: 'The session.', schema: sessionCreatedSchema },
      409: { description: 'The user has reached the session limit, or is disabled.' },
      415: { description: 'The body is not application/json.' },
    },
    handle: ({ auth, body, req }) => openSession(context, auth, body, req),
  });

/** Opens the session of a valid body, for a caller with {@link CREATE_SESSION_SCOPE}. */
export const openSession = async (
  context: HttpContext,
  caller: Omit<ServiceCaller, 'requireStillValid'>,
  body: CreateSessionBody,
  req: IncomingMessage,
): Promise<RouteReply> => {
  if (body.actor !== undefined || body.policy === 'impersonation') {
    requireImpersonation(caller, body.user_id, body.actor?.id);
  }
  requireGrantable(caller, body.grants);
  const login = loginOf(context, body, tenantFor(caller, body.tenant));
  // The hash does not depend on SESSION_IP_MODE or the signing key, so a repeat matches after they change.
  const idempotency = idempotencyOf(caller, req, { ...login, ip: shortenIp(body.ip) });
  return sessionCreatedReply(context, await context.sessions.open(login, caller.actor, idempotency));
};

const loginOf = ({ addresses }: HttpContext, body: CreateSessionBody, tenant: string): Login => ({
  tenant,
  userId: body.user_id ?? null,
  policy: body.actor ? 'impersonation' : body.policy,
  transport: body.transport,
  remember: body.remember && !body.actor,
  label: body.label ?? null,
  client: {
    kind: body.client.kind,
    summary: body.client.summary ?? summarizeUserAgent(body.user_agent ?? null),
    userAgent: body.user_agent ?? null,
    deviceId: body.client.device_id ?? null,
  },
  ip: addresses.anonymize(body.ip),
  country: body.country ?? null,
  auth: {
    time: body.auth.time,
    aal: body.user_id === undefined ? 0 : body.auth.aal,
    amr: body.auth.amr,
    idp: body.auth.idp ?? null,
    idpSid: body.auth.idp_sid ?? null,
    idpSub: body.auth.idp_sub ?? null,
  },
  actor: body.actor ? { id: body.actor.id, reason: body.actor.reason ?? null } : null,
  data: body.data,
  grants: body.grants,
});

const getSession = (context: HttpContext): Route =>
  serviceRoute(context, 'sessions:read', {
    method: 'get',
    path: '/v1/sessions/:id',
    summary: 'Get a session, live or ended',
    params,
    responses: {
      200: { description: 'The session.', schema: sessionSchema },
      404: { description: 'The session does not exist.' },
    },
    handle: async ({ auth, params: { id } }) => {
      const sessionId = parseSessionId(id);
      const session = sessionId && (await context.sessions.find(sessionId));
      if (!session || !isVisible(auth, session)) throw new AppError('NOT_FOUND');
      const [sockets = null] = await context.presence.socketsOf([session.id]);
      return {
        status: 200,
        headers: { ETag: etagOf(session) },
        body: sessionDto(session, { current: false, withData: true, sockets }),
      };
    },
  });

const endSession = (context: HttpContext): Route =>
  serviceRoute(context, 'sessions:end', {
    method: 'delete',
    path: '/v1/sessions/:id',
    summary: 'End a session',
    description: 'Idempotent: a session that has ended, or does not exist, is not an error.',
    params,
    query: z.strictObject({ reason: z.enum(END_REASONS).default('admin') }),
    responses: ENDED_RESPONSES,
    handle: async ({ auth, params: { id }, query }) => {
      const sessionId = parseSessionId(id);
      if (sessionId === undefined) throw new AppError('NOT_FOUND');
      await requireVisible(context, auth, sessionId);
      return endedReply(await context.sessions.end([sessionId], query.reason, auth.actor));
    },
  });
