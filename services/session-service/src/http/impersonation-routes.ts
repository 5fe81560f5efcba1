import { type Route, route } from '@muster/http/route';
import { ValidationFailure } from '@muster/http/validation';
import { AppError } from '@muster/protocol/errors';
import { parseSessionId, type SessionId } from '@muster/session/token';
import { z } from 'zod';
import { POLICIES } from '../core/policies.ts';
import type { HttpContext } from './context.ts';
import { idempotencyOf } from './idempotency.ts';
import { reasonSchema, sessionCreatedSchema, sessionIdSchema, tenant } from './schemas.ts';
import { isVisible, type ServiceCaller, serviceGuard, tenantFor } from './service-guard.ts';
import { sessionCreatedReply } from './session-response.ts';

const SCOPE = 'sessions:impersonate';
const DEFAULT_TTL_S = 900;
const SAME_PERSON = 'The actor and the user are the same';
const userId = z.string().min(1).max(255);

const impersonationBody = z.strictObject({
  actor: userId,
  actor_session: sessionIdSchema.optional(),
  user_id: userId,
  reason: reasonSchema,
  ttl: z.int().min(60).max(POLICIES.impersonation.maxSeconds).default(DEFAULT_TTL_S),
  tenant: tenant.optional(),
  transport: z.enum(['cookie', 'bearer']).default('bearer'),
});
type ImpersonationBody = z.output<typeof impersonationBody>;

/** The route by which a person of the staff acts as a user for a short time. */
export const impersonationRoutes = (context: HttpContext): Route[] => [
  route({
    method: 'post',
    path: '/v1/impersonations',
    summary: 'Open a session in which a person of the staff acts as a user',
    description:
      'It lives for `ttl` seconds at most, shows `actor`, and cannot change the account. With `actor_session`, a live ' +
      'session of the actor, it ends when that one does.',
    tags: ['service'],
    security: ['serviceKey'],
    body: impersonationBody,
    guard: serviceGuard(context, SCOPE),
    responses: {
      201: { description: 'The session.', schema: sessionCreatedSchema },
      401: { description: 'No API key, or a wrong one.' },
      403: { description: `The key lacks the scope ${SCOPE}.` },
      409: { description: 'The user is disabled, or the session of the actor is over.' },
      415: { description: 'The body is not application/json.' },
      422: { description: 'The body is not valid.' },
      503: { description: 'Cannot be done now; try again.' },
    },
    handle: async ({ auth, body, req }) => {
      const tenantId = tenantFor(auth, body.tenant);
      if (body.actor === body.user_id) throw invalid('actor', SAME_PERSON);
      const actorSession = await actorSessionOf(context, auth, body);
      const login = {
        tenant: tenantId,
        userId: body.user_id,
        policy: 'impersonation' as const,
        lifeSeconds: body.ttl,
        transport: body.transport,
        remember: false,
        label: null,
        client: { kind: 'impersonation', summary: null, userAgent: null, deviceId: null },
        ip: null,
        country: null,
        auth: { time: undefined, aal: 1, amr: ['impersonation'], idp: null, idpSid: null, idpSub: null },
        actor: { id: body.actor, reason: body.reason },
        actorSession,
        data: {},
        grants: [],
      };
      return sessionCreatedReply(
        context,
        await context.sessions.open(login, auth.actor, idempotencyOf(auth, req, body)),
      );
    },
  }),
];

/** Throws unless this caller may open sessions with an actor or the policy `impersonation`, and both persons are named. */
export const requireImpersonation = (
  { scopes }: ServiceCaller,
  user: string | undefined,
  actor: string | undefined,
): void => {
  if (!scopes.includes(SCOPE)) {
    throw new AppError('INSUFFICIENT_SCOPE', { detail: `An impersonation needs the scope ${SCOPE}.` });
  }
  if (user === undefined) throw invalid('user_id', 'A guest cannot be impersonated');
  if (actor === undefined) throw invalid('actor', 'The policy `impersonation` needs an actor');
  if (actor === user) throw invalid('actor', SAME_PERSON);
};

/** The session that was named, if it is a live one of the actor. Never an impersonated one: they do not nest. */
const actorSessionOf = async (
  { sessions, clock }: HttpContext,
  caller: ServiceCaller,
  { actor, actor_session }: ImpersonationBody,
): Promise<SessionId | undefined> => {
  const id = actor_session === undefined ? undefined : parseSessionId(actor_session);
  if (id === undefined) return undefined;
  const session = await sessions.find(id);
  if (session === undefined || !isVisible(caller, session) || session.userId !== actor) {
    throw invalid('actor_session', 'This is no session of the actor');
  }
  if (session.about.actor !== null)
    throw invalid('actor_session', 'An impersonated session cannot impersonate');
  if (session.endedAt !== null || session.expiresAt <= clock.now()) {
    throw new AppError('CONFLICT', { detail: 'The session of the actor has ended.' });
  }
  return id;
};

const invalid = (member: string, msg: string): ValidationFailure =>
  new ValidationFailure([{ loc: ['body', member], msg, type: 'value_error' }]);
