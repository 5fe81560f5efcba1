import type { Route } from '@muster/http/route';
import { ValidationFailure } from '@muster/http/validation';
import { AppError } from '@muster/protocol/errors';
import { parseSessionId, type SessionId } from '@muster/session/token';
import { z } from 'zod';
import { POLICIES } from '../core/session-policies.ts';
import { serviceRoute } from './authenticated-routes.ts';
import type { HttpContext } from './context.ts';
import { idempotencyOf } from './idempotency.ts';
import { reasonSchema, sessionCreatedSchema, sessionIdSchema, tenant, text, transport } from './schemas.ts';
import { isVisible, type ServiceCaller, tenantFor } from './service-guard.ts';
import { sessionCreatedReply } from './session-response.ts';

const SCOPE = 'sessions:impersonate';
const DEFAULT_TTL_S = 900;
const SAME_USER = 'The actor and the user are the same';

const impersonationBody = z.strictObject({
  actor: text(255),
  actor_session: sessionIdSchema.optional(),
  user_id: text(255),
  reason: reasonSchema,
  ttl: z.int().min(60).max(POLICIES.impersonation.maxSeconds).default(DEFAULT_TTL_S),
  tenant: tenant.optional(),
  transport: transport.default('bearer'),
});
type ImpersonationBody = z.output<typeof impersonationBody>;

/** The route that opens sessions in which an actor acts as a user. */
export const impersonationRoutes = (context: HttpContext): Route[] => [
  serviceRoute(context, SCOPE, {
    method: 'post',
    path: '/v1/impersonations',
    summary: 'Open a session in which an actor acts as a user',
    description:
      'It lasts at most `ttl` seconds, shows `actor`, and cannot change the account. With `actor_session`, a live ' +
      'session of the actor, it ends with that session.',
    body: impersonationBody,
    responses: {
      201: { description: 'The session.', schema: sessionCreatedSchema },
      409: { description: 'The user is disabled, or the session of the actor has ended.' },
      415: { description: 'The body is not application/json.' },
    },
    handle: async ({ auth, body, req }) => {
      const tenantId = tenantFor(auth, body.tenant);
      if (body.actor === body.user_id) throw invalid('actor', SAME_USER);
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

/** Requires the scope for sessions with an actor or the policy `impersonation`, and a user that is not the actor. */
export const requireImpersonation = (
  { scopes }: Pick<ServiceCaller, 'scopes'>,
  user: string | undefined,
  actor: string | undefined,
): void => {
  if (!scopes.includes(SCOPE)) {
    throw new AppError('INSUFFICIENT_SCOPE', { detail: `An impersonation requires the scope ${SCOPE}.` });
  }
  if (user === undefined) throw invalid('user_id', 'A guest cannot be impersonated');
  if (actor === undefined) throw invalid('actor', 'The policy `impersonation` requires an actor');
  if (actor === user) throw invalid('actor', SAME_USER);
};

/** The live session of the actor. Impersonations do not nest. */
const actorSessionOf = async (
  { sessions, clock }: HttpContext,
  caller: ServiceCaller,
  { actor, actor_session }: ImpersonationBody,
): Promise<SessionId | undefined> => {
  const id = actor_session === undefined ? undefined : parseSessionId(actor_session);
  if (id === undefined) return undefined;
  const session = await sessions.find(id);
  if (session === undefined || !isVisible(caller, session) || session.userId !== actor) {
    throw invalid('actor_session', 'The session does not belong to the actor');
  }
  if (session.about.actor !== null) throw invalid('actor_session', 'An impersonated session cannot impersonate');
  if (session.endedAt !== null || session.expiresAt <= clock.now()) {
    throw new AppError('CONFLICT', { detail: 'The session of the actor has ended.' });
  }
  return id;
};

const invalid = (member: string, msg: string): ValidationFailure =>
  new ValidationFailure([{ loc: ['body', member], msg, type: 'value_error' }]);
