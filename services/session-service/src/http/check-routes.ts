import { type Route, route } from '@muster/http/route';
import { isRedisFault } from '@muster/kit/redis/connection';
import { AppError } from '@muster/protocol/errors';
import { DEFAULT_TENANT } from '@muster/protocol/ids';
import { TICKET_LIFE_S } from '@muster/session/tickets';
import { z } from 'zod';
import { type Authenticated, tenantOfAuthenticated } from '../core/authenticate.ts';
import type { HttpContext } from './context.ts';
import { sessionSchema, tenant } from './schemas.ts';
import { isVisible, type ServiceCaller, serviceGuard } from './service-guard.ts';
import { sessionDto } from './session-dto.ts';
import { userGuard } from './session-guard.ts';

const MAX_TOKENS = 200;
const REDIS_RETRY_S = 2;

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
type Asked = z.output<typeof checkBody>['tokens'][number];

/** Routes that say who somebody is, and lend that to a socket. */
export const checkRoutes = (context: HttpContext): Route[] => [
  route({
    method: 'post',
    path: '/v1/sessions/check',
    summary: 'Whose tokens these are (introspection)',
    description: 'A token that is over, forged or not enough is an answer, not an error.',
    tags: ['service'],
    security: ['serviceKey'],
    body: checkBody,
    guard: serviceGuard(context, 'sessions:check'),
    responses: {
      200: {
        description: 'One answer per token, in their order.',
        schema: z.object({ items: z.array(checkedSchema) }),
      },
      401: { description: 'No API key, or a wrong one.' },
      403: { description: 'The key lacks the scope sessions:check.' },
      422: { description: 'The body is not valid.' },
      503: { description: 'Cannot be decided just now; try again.' },
    },
    handle: async ({ auth, body }) => {
      const items = await Promise.all(
        body.tokens.map(async (asked) =>
          answer(context, auth, asked, await context.authenticate(asked.token)),
        ),
      );
      return { status: 200, body: { items } };
    },
  }),
  route({
    method: 'post',
    path: '/v1/session/ws-ticket',
    summary: 'A ticket for one WebSocket handshake within 30 s',
    description:
      'For sockets on another host than the cookie. It is bound to this session and to one origin.',
    tags: ['user'],
    security: ['sessionCookie', 'sessionBearer'],
    body: z.strictObject({ origin: z.string().max(255).optional() }).prefault({}),
    guard: userGuard(context, { unsafe: true, impersonated: 'allowed' }),
    responses: {
      201: { description: 'The ticket.', schema: z.object({ ticket: z.string(), expires_in: z.int() }) },
      401: { description: 'No session, or one that is over.' },
      403: { description: 'The request, or the origin, is foreign.' },
      422: { description: 'The body is not valid.' },
      503: { description: 'Cannot be done just now; try again.' },
    },
    handle: async ({ auth, body, req }) => {
      const origin = body.origin ?? req.get('origin') ?? null;
      if (origin !== null && !context.config.allowedOrigins.includes(origin)) {
        throw new AppError('ORIGIN_NOT_ALLOWED', { detail: 'Tickets are for our own origins.' });
      }
      const { id, secretHash } = auth.snapshot;
      const ticket = await withRedis(() => context.tickets.issue({ id, secretHash, origin }));
      return { status: 201, body: { ticket, expires_in: TICKET_LIFE_S } };
    },
  }),
];

const withRedis = async <T>(work: () => Promise<T>): Promise<T> => {
  try {
    return await work();
  } catch (error) {
    if (!isRedisFault(error)) throw error;
    throw new AppError('REDIS_UNAVAILABLE', { retryAfterS: REDIS_RETRY_S, cause: error });
  }
};

const answer = (
  { clock }: HttpContext,
  caller: ServiceCaller,
  { require }: Asked,
  verdict: Authenticated,
): z.input<typeof checkedSchema> | object => {
  if (!verdict.ok && verdict.why === 'invalid') return { active: false, reason: 'invalid' };
  // Of another tenant's session, live or ended, not even its existence is told.
  const tenantId = tenantOfAuthenticated(verdict) ?? DEFAULT_TENANT;
  const isForeign = require?.tenant !== undefined && require.tenant !== tenantId;
  if (isForeign || !isVisible(caller, { tenant: tenantId })) return { active: false, reason: 'unknown' };
  if (!verdict.ok) return { active: false, reason: verdict.why === 'ended' ? verdict.reason : 'stale' };
  const { snapshot } = verdict;
  const authTime = snapshot.about?.auth.time ?? 0;
  const isTooOld =
    require?.max_auth_age !== undefined && clock.now() - authTime > require.max_auth_age * 1000;
  if (isTooOld || (require?.aal ?? 0) > snapshot.aal) return { active: false, reason: 'step_up_required' };
  return { active: true, session: sessionDto(snapshot, { current: false, withData: true }) };
};
