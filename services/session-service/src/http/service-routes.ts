import { type Route, route } from '@muster/http/route';
import { AppError } from '@muster/protocol/errors';
import { parseSessionId } from '@muster/session/token';
import { z } from 'zod';
import { shortenIp } from '../core/ip.ts';
import { END_REASONS } from '../core/session.ts';
import type { Login } from '../core/sessions.ts';
import { summarizeUserAgent } from '../core/user-agent.ts';
import type { HttpContext } from './context.ts';
import { idempotencyOf } from './idempotency.ts';
import { requireImpersonation } from './impersonation-routes.ts';
import { ended } from './own-session-routes.ts';
import {
  type CreateSessionBody,
  createSessionBody,
  pendingSchema,
  sessionCreatedSchema,
  sessionIdSchema,
  sessionSchema,
} from './schemas.ts';
import { isVisible, requireGrantable, requireVisible, serviceGuard, tenantFor } from './service-guard.ts';
import { etagOf, sessionDto } from './session-dto.ts';
import { sessionCreatedReply } from './session-response.ts';

const SECURITY = ['serviceKey'] as const;
const REFUSALS = {
  401: { description: 'No API key, or a wrong one.' },
  503: { description: 'Cannot be decided just now; try again.' },
};
const params = z.object({ id: sessionIdSchema });

/** Routes for back ends. */
export const serviceRoutes = (context: HttpContext): Route[] => [
  createSession(context),
  getSession(context),
  endSession(context),
];

const createSession = (context: HttpContext): Route =>
  route({
    method: 'post',
    path: '/v1/sessions',
    summary: 'Open a session for a user who has signed in',
    description:
      'With transport "bearer" the token is in the body, once; with "cookie" it is in Set-Cookie. ' +
      'With an `Idempotency-Key` header the same request answers the same session and token for a day.',
    tags: ['service'],
    security: SECURITY,
    body: createSessionBody,
    guard: serviceGuard(context, 'sessions:create'),
    responses: {
      201: { description: 'The session.', schema: sessionCreatedSchema },
      403: { description: 'The key lacks a scope, or may not give these grants.' },
      409: { description: 'The user has too many sessions, or is disabled.' },
      415: { description: 'The body is not application/json.' },
      422: { description: 'The body is not valid.' },
      ...REFUSALS,
    },
    handle: async ({ auth, body, req }) => {
      if (body.actor !== undefined || body.policy === 'impersonation') {
        requireImpersonation(auth, body.user_id, body.actor?.id);
      }
      requireGrantable(auth, body.grants);
      const login = loginOf(context, body, tenantFor(auth, body.tenant));
      // A repeat stays one when the setting for addresses or the signing key has changed.
      const idempotency = idempotencyOf(auth, req, { ...login, ip: shortenIp(body.ip) });
      return sessionCreatedReply(context, await context.sessions.open(login, auth.actor, idempotency));
    },
  });

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
  route({
    method: 'get',
    path: '/v1/sessions/:id',
    summary: 'A session, live or ended',
    tags: ['service'],
    security: SECURITY,
    params,
    guard: serviceGuard(context, 'sessions:read'),
    responses: {
      200: { description: 'The session.', schema: sessionSchema },
      404: { description: 'There is no such session.' },
      ...REFUSALS,
    },
    handle: async ({ auth, params: { id } }) => {
      const known = parseSessionId(id);
      const session = known && (await context.sessions.find(known));
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
  route({
    method: 'delete',
    path: '/v1/sessions/:id',
    summary: 'End a session',
    description: 'Ending what has ended, or what never was, is fine too.',
    tags: ['service'],
    security: SECURITY,
    params,
    query: z.strictObject({ reason: z.enum(END_REASONS).default('admin') }),
    guard: serviceGuard(context, 'sessions:end'),
    responses: {
      204: { description: 'It lives no more.' },
      202: { description: 'Ended; the fleet will hear of it within seconds.', schema: pendingSchema },
      ...REFUSALS,
    },
    handle: async ({ auth, params: { id }, query }) => {
      const known = parseSessionId(id);
      if (known === undefined) throw new AppError('NOT_FOUND');
      await requireVisible(context, auth, known);
      return ended(await context.sessions.end([known], query.reason, auth.actor));
    },
  });
