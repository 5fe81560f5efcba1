import { keyReused } from '@muster/http/idempotency-key';
import type { Route } from '@muster/http/route';
import { uuidSchema } from '@muster/http/validation';
import { AppError } from '@muster/protocol/errors';
import { z } from 'zod';
import { type ApiKey, SCOPES } from '../core/api-keys.ts';
import { serviceRoute } from './authenticated-routes.ts';
import type { HttpContext } from './context.ts';
import { idempotencyOf } from './idempotency.ts';
import { reasonSchema, tenant, text } from './schemas.ts';
import { requireGroups, type ServiceCaller } from './service-guard.ts';
import { isoOf } from './session-dto.ts';
import { asReplay } from './session-response.ts';

/** Equal to the most grants of a session. */
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
    .array(text(255))
    .min(1)
    .max(MAX_GROUPS)
    .optional()
    .describe('the groups that grants of this key may name: names, or prefixes ending in *; all when absent'),
  reason: reasonSchema.optional(),
});

export const apiKeyRoutes = (context: HttpContext): Route[] => [
  createKey(context),
  serviceRoute(context, 'keys:admin', {
    method: 'get',
    path: '/v1/api-keys',
    summary: 'List the API keys, without their secrets',
    responses: {
      200: { description: 'The keys.', schema: z.object({ items: z.array(keySchema) }) },
    },
    handle: async ({ auth }) => ({
      status: 200,
      body: { items: (await context.apiKeys.list(auth.tenant)).map(keyDto) },
    }),
  }),
  revokeKey(context),
];

const createKey = (context: HttpContext): Route =>
  serviceRoute(context, 'keys:admin', {
    method: 'post',
    path: '/v1/api-keys',
    summary: 'Create an API key; its secret is returned once',
    description: 'With an `Idempotency-Key` header, repeats return the same key.',
    body: createKeyBody,
    responses: {
      201: { description: 'The key.', schema: keySchema.extend({ key: z.string() }) },
      409: { description: 'The API key of this Idempotency-Key is revoked.' },
    },
    handle: async ({ auth, body, req }) => {
      requireWithin(auth, body);
      const request = {
        name: body.name,
        scopes: [...new Set(body.scopes)],
        tenant: body.tenant ?? null,
        groups: body.groups ?? null,
      };
      const by = { actor: auth.actor, reason: body.reason };
      const created = await context.apiKeys.create(request, by, idempotencyOf(auth, req, request));
      if (created.ok) {
        const reply = { status: 201, body: { ...keyDto(created.made), key: created.key } };
        return created.isReplay ? asReplay(reply) : reply;
      }
      if (created.why === 'key_reused') throw keyReused();
      throw new AppError('CONFLICT', { detail: 'The API key of this Idempotency-Key is revoked.' });
    },
  });

/** Throws `INSUFFICIENT_SCOPE` for a key with more permissions than its author. */
const requireWithin = (
  caller: ServiceCaller,
  { tenant: tenantId, scopes, groups }: z.output<typeof createKeyBody>,
): void => {
  const refuse = (detail: string): AppError => new AppError('INSUFFICIENT_SCOPE', { detail });
  if (caller.tenant !== null && tenantId !== caller.tenant)
    throw refuse('A key of a tenant can only create keys of that tenant.');
  if (!scopes.every((scope) => caller.scopes.includes(scope)))
    throw refuse('A key cannot grant scopes that it does not have.');
  if (caller.groups !== null && groups === undefined)
    throw refuse('A key with groups can only create keys with groups. Send `groups`.');
  requireGroups(caller, groups ?? []);
};

const revokeKey = (context: HttpContext): Route =>
  serviceRoute(context, 'keys:admin', {
    method: 'delete',
    path: '/v1/api-keys/:id',
    summary: 'Revoke an API key; every replica refuses it within five seconds',
    params: z.object({ id: uuidSchema }),
    query: z.strictObject({ reason: reasonSchema.optional() }),
    responses: {
      204: { description: 'The key is revoked.' },
      404: { description: 'There is no active key with this id.' },
    },
    handle: async ({ auth, params, query }) => {
      const by = { actor: auth.actor, reason: query.reason };
      if (!(await context.apiKeys.revoke(params.id, auth.tenant, by))) throw new AppError('NOT_FOUND');
      return { status: 204 };
    },
  });

const keyDto = (key: ApiKey): object => ({
  id: key.id,
  name: key.name,
  scopes: key.scopes,
  tenant: key.tenant,
  groups: key.groups,
  created_at: isoOf(key.createdAt),
  last_used_at: key.lastUsedAt === null ? null : isoOf(key.lastUsedAt),
  revoked_at: key.revokedAt === null ? null : isoOf(key.revokedAt),
});
