import type { Route } from '@muster/http/route';
import { AppError } from '@muster/protocol/errors';
import { DEFAULT_TENANT } from '@muster/protocol/ids';
import { TICKET_LIFE_S } from '@muster/session/tickets';
import { z } from 'zod';
import { type Authenticated, tenantOfAuthenticated } from '../core/authenticate.ts';
import { orUnavailable } from '../redis-errors.ts';
import { serviceRoute, userRoute } from './authenticated-routes.ts';
import type { HttpContext } from './context.ts';
import { sessionSchema, tenant } from './schemas.ts';
import { isVisible, type ServiceCaller } from './service-guard.ts';
import { sessionDto } from './session-dto.ts';

const MAX_TOKENS = 200;

const checkedSchema = z.object({
  active: z.boolean(),
  reason: z.string().optional(),
  session: sessionSchema.optional(),
});

const checkBody = z.strictObject({
  tokens: z
    .array(
      z.strictObject({
        token: z.string().max(8192),
        require: z
          .strictObject({
            aal: z.int().min(0).max(3).optional(),
            max_auth_age: z.int().min(1).max(31_536_000).optional(),
            tenant: tenant.optional(),
          })
          .optional(),
      }),
    )
    .min(1)
    .max(MAX_TOKENS),
});
type TokenCheck = z.output<typeof checkBody>['tokens'][number];

/** Routes that check tokens and issue tickets. */
export const checkRoutes = (context: HttpContext): Route[] => [
  serviceRoute(context, 'sessions:check', {
    method: 'post',
    path: '/v1/sessions/check',
    summary: 'Check tokens (introspection)',
    description: 'An ended, invalid or insufficient token is a result, not an error.',
    body: checkBody,
    responses: {
      200: {
        description: 'One result per token, in their order.',
        schema: z.object({ items: z.array(checkedSchema) }),
      },
    },
    handle: async ({ auth, body }) => {
      const items = await Promise.all(
        body.tokens.map(async (check) => resultOf(context, auth, check, await context.authenticate(check.token))),
      );
      return { status: 200, body: { items } };
    },
  }),
  userRoute(context, {
    method: 'post',
    path: '/v1/session/ws-ticket',
    summary: 'Issue a ticket for one WebSocket handshake within 30 s',
    description: 'For sockets on another host than the cookie. The ticket is bound to this session and one origin.',
    body: z.strictObject({ origin: z.string().max(255).optional() }).prefault({}),
    impersonated: 'allowed',
    responses: {
      201: { description: 'The ticket.', schema: z.object({ ticket: z.string(), expires_in: z.int() }) },
      403: { description: 'The request comes from a page of another site, or the origin is not allowed.' },
    },
    handle: async ({ auth, body, req }) => {
      const origin = body.origin ?? req.get('origin') ?? null;
      if (origin !== null && !context.config.allowedOrigins.includes(origin)) {
        throw new AppError('ORIGIN_NOT_ALLOWED', {
          detail: 'Tickets are issued for the origins in ALLOWED_ORIGINS only.',
        });
      }
      const { id, secretHash } = auth.snapshot;
      const ticket = await orUnavailable(() => context.tickets.issue({ id, secretHash, origin }));
      return { status: 201, body: { ticket, expires_in: TICKET_LIFE_S } };
    },
  }),
];

const resultOf = (
  { clock }: HttpContext,
  caller: ServiceCaller,
  { require }: TokenCheck,
  result: Authenticated,
): z.input<typeof checkedSchema> | object => {
  if (!result.ok && result.why === 'invalid') return { active: false, reason: 'invalid' };
  // The existence of another tenant's session, live or ended, is not revealed.
  const tenantId = tenantOfAuthenticated(result) ?? DEFAULT_TENANT;
  const isForeign = require?.tenant !== undefined && require.tenant !== tenantId;
  if (isForeign || !isVisible(caller, { tenant: tenantId })) return { active: false, reason: 'unknown' };
  if (!result.ok) return { active: false, reason: result.why === 'ended' ? result.reason : 'stale' };
  const { snapshot } = result;
  const authTime = snapshot.about?.auth.time ?? 0;
  const isTooOld = require?.max_auth_age !== undefined && clock.now() - authTime > require.max_auth_age * 1000;
  if (isTooOld || (require?.aal ?? 0) > snapshot.aal) return { active: false, reason: 'step_up_required' };
  return { active: true, session: sessionDto(snapshot, { current: false, withData: true }) };
};
