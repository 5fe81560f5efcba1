import { keyReused } from '@muster/http/idempotency-key';
import { type Route, route } from '@muster/http/route';
import { uuidSchema } from '@muster/http/uuid';
import { AppError } from '@muster/protocol/errors';
import { z } from 'zod';
import { type ApiKey, SCOPES } from '../core/api-keys.ts';
import type { HttpContext } from './context.ts';
import { idempotencyOf } from './idempotency.ts';
import { reasonSchema, tenant } from './schemas.ts';
import { requireGroups, type ServiceCaller, serviceGuard } from './service-guard.ts';
import { asReplay } from './session-response.ts';

const SECURITY = ['serviceKey'] as const;
const REFUSALS = {
  401: { description: 'No API key, or a wrong one.' },
  403: { description: 'The key lacks the scope keys:admin, or cannot give what is asked for.' },
  503: { description: 'Cannot be done just now; try again.' },
};

/** As many as a session has grants. */
const MAX_GROUPS = 32;

const keySchema = z.object({
  id: z.uuid(),
  name: z.string(),
  scopes: z.array(z.enum(SCOPES)),
  tenant: z.string().nullable(),
  groups: z.array(z.string()).nullable(),
  created_at: z.iso.datetime(),
  last_used_at: z.iso.datetime().nullable(),
  revoked_at: z.iso.datetime().nullable(),
});

const createKeyBody = z.strictObject({
  name: z.string().trim().min(1).max(100),
  scopes: z.array(z.enum(SCOPES)).min(1).max(SCOPES.length),
  tenant: tenant.optional(),
  groups: z
    .array(z.string().min(1).max(255))
    .min(1)
    .max(MAX_GROUPS)
    .optional()
    .describe(
      'the groups that grants by this key may name: names, or prefixes ending in *; all when left out',
    ),
  reason: reasonSchema.optional(),
});

/** Routes for API keys. */
export const keyRoutes = (context: HttpContext): Route[] => [
  route({
    method: 'post',
    path: '/v1/api-keys',
    summary: 'Make an API key; it is shown this once',
    description: 'With an `Idempotency-Key` header the same request answers the same key.',
    tags: ['service'],
    security: SECURITY,
    body: createKeyBody,
    guard: serviceGuard(context, 'keys:admin'),
    responses: {
      201: { description: 'The key.', schema: keySchema.extend({ key: z.string() }) },
      409: { description: 'The key of this Idempotency-Key is revoked.' },
      422: { description: 'The body is not valid.' },
      ...REFUSALS,
    },
    handle: async ({ auth, body, req }) => {
      requireWithin(auth, body);
      const wanted = {
        name: body.name,
        scopes: [...new Set(body.scopes)],
        tenant: body.tenant ?? null,
        groups: body.groups ?? null,
      };
      const by = { actor: auth.actor, reason: body.reason };
      const created = await context.apiKeys.create(wanted, by, idempotencyOf(auth, req, wanted));
      if (created.ok) {
        const reply = { status: 201, body: { ...viewKey(created.made), key: created.key } };
        return created.isReplay ? asReplay(reply) : reply;
      }
      if (created.why === 'key_reused') throw keyReused();
      throw new AppError('CONFLICT', { detail: 'The API key of this Idempotency-Key is revoked.' });
    },
  }),
  route({
    method: 'get',
    path: '/v1/api-keys',
    summary: 'All API keys, without the keys',
    tags: ['service'],
    security: SECURITY,
    guard: serviceGuard(context, 'keys:admin'),
    responses: {
      200: { description: 'The keys.', schema: z.object({ items: z.array(keySchema) }) },
      ...REFUSALS,
    },
    handle: async ({ auth }) => ({
      status: 200,
      body: { items: (await context.apiKeys.list(auth.tenant)).map(viewKey) },
    }),
  }),
  revokeKey(context),
];

/** Throws `INSUFFICIENT_SCOPE` for a key that may more than the one that makes it. */
const requireWithin = (
  caller: ServiceCaller,
  { tenant, scopes, groups }: z.output<typeof createKeyBody>,
): void => {
  const refuse = (detail: string): AppError => new AppError('INSUFFICIENT_SCOPE', { detail });
  if (caller.tenant !== null && tenant !== caller.tenant)
    throw refuse('A key of a tenant makes keys of that tenant.');
  if (!scopes.every((scope) => caller.scopes.includes(scope)))
    throw refuse('A key cannot give what it does not have.');
  if (caller.groups !== null && groups === undefined)
    throw refuse('A key with groups makes keys with groups: send `groups`.');
  requireGroups(caller, groups ?? []);
};

const revokeKey = (context: HttpContext): Route =>
  route({
    method: 'delete',
    path: '/v1/api-keys/:id',
    summary: 'Revoke an API key; every replica refuses it within five seconds',
    tags: ['service'],
    security: SECURITY,
    params: z.object({ id: uuidSchema }),
    query: z.strictObject({ reason: reasonSchema.optional() }),
    guard: serviceGuard(context, 'keys:admin'),
    responses: {
      204: { description: 'It is revoked.' },
      404: { description: 'No such key lives.' },
      422: { description: 'The id is none.' },
      ...REFUSALS,
    },
    handle: async ({ auth, params, query }) => {
      const by = { actor: auth.actor, reason: query.reason };
      if (!(await context.apiKeys.revoke(params.id, auth.tenant, by))) throw new AppError('NOT_FOUND');
      return { status: 204 };
    },
  });

const viewKey = (key: ApiKey): object => ({
  id: key.id,
  name: key.name,
  scopes: key.scopes,
  tenant: key.tenant,
  groups: key.groups,
  created_at: iso(key.createdAt),
  last_used_at: key.lastUsedAt === null ? null : iso(key.lastUsedAt),
  revoked_at: key.revokedAt === null ? null : iso(key.revokedAt),
});

const iso = (ms: number): string => new Date(ms).toISOString();
