import { type Route, route } from '@muster/http/route';
import { parseSessionId } from '@muster/session/token';
import { z } from 'zod';
import type { IpAnonymizer } from '../core/ip-anonymization.ts';
import type { SearchFilter } from '../core/ports.ts';
import { END_REASONS } from '../core/session.ts';
import type { HttpContext } from './context.ts';
import { sessionPage } from './paging.ts';
import { listQuery, pageSchema, sessionIdSchema, tenant } from './schemas.ts';
import { serviceGuard, tenantFor } from './service-guard.ts';

const SECURITY = ['serviceKey'] as const;
const MAX_IDS = 500;
const REFUSALS = {
  401: { description: 'No API key, or a wrong one.' },
  403: { description: 'The key lacks the scope.' },
  422: { description: 'The request is not valid.' },
  503: { description: 'Cannot be decided just now; try again.' },
};

const text = (max: number) => z.string().min(1).max(max);
const instant = z.iso.datetime({ offset: true }).transform((iso) => Date.parse(iso));
/** An address or a network; Postgres reads both. */
const network = z.string().regex(/^[0-9a-fA-F.:]{2,45}(\/\d{1,3})?$/);

const filters = {
  user_id: text(255).optional(),
  ip: network.optional(),
  device_id: text(128).optional(),
  client: text(32).optional(),
  q: text(100).optional(),
  created_from: instant.optional(),
  created_to: instant.optional(),
  seen_before: instant.optional(),
  idp: text(255).optional(),
  idp_sid: text(255).optional(),
  idp_sub: text(255).optional(),
};
const filterSchema = z.strictObject(filters);

/** Routes that look at, or end, sessions of many users. */
export const searchRoutes = (context: HttpContext): Route[] => [search(context), endMany(context)];

const filterOf = (
  { addresses }: HttpContext,
  found: z.output<typeof filterSchema>,
  tenantId: string,
  state: SearchFilter['state'],
): SearchFilter => ({
  tenant: tenantId,
  state,
  userId: found.user_id,
  ...ipOf(addresses, found.ip),
  deviceId: found.device_id,
  client: found.client,
  q: found.q,
  createdFrom: found.created_from,
  createdTo: found.created_to,
  seenBefore: found.seen_before,
  idp: found.idp,
  idpSid: found.idp_sid,
  idpSub: found.idp_sub,
});

/** A single address is compared exactly, as it is stored; a network by what lies in it. */
const ipOf = (addresses: IpAnonymizer, ip: string | undefined): Pick<SearchFilter, 'ip' | 'addresses'> => {
  const spellings = ip === undefined ? undefined : addresses.storedForms(ip);
  return spellings === undefined ? { ip } : { addresses: spellings };
};

const search = (context: HttpContext): Route =>
  route({
    method: 'get',
    path: '/v1/sessions',
    summary: 'Search the sessions of a tenant, newest first',
    description: 'Text is compared literally; `q` looks into labels and user agents, `ip` may be a network.',
    tags: ['service'],
    security: SECURITY,
    query: listQuery.extend({ ...filters, tenant: tenant.optional() }),
    guard: serviceGuard(context, 'sessions:search'),
    responses: {
      200: { description: 'A page of sessions, without their data.', schema: pageSchema },
      400: { description: 'The cursor is not one of this search.' },
      ...REFUSALS,
    },
    handle: ({ auth, query }) => {
      const { limit, cursor, state, tenant: asked, ...rest } = query;
      const filter = filterOf(context, rest, tenantFor(auth, asked), state);
      return sessionPage(context, {
        path: '/v1/sessions',
        filter,
        cursor,
        limit,
        read: (after, count) => context.admin.search({ ...filter, limit: count, after }),
      });
    },
  });

const endManyBody = z
  .strictObject({
    ids: z.array(sessionIdSchema).min(1).max(MAX_IDS).optional(),
    filter: filterSchema
      .refine((filter) => Object.keys(filter).length > 0, 'An empty filter is `all`')
      .optional(),
    all: z.literal(true).optional(),
    confirm: z.literal('*').optional(),
    reason: z.enum(END_REASONS).default('admin'),
    tenant: tenant.optional(),
  })
  .superRefine((body, issues) => {
    const ways = [body.ids, body.filter, body.all].filter((way) => way !== undefined);
    if (ways.length !== 1) issues.addIssue('Exactly one of ids, filter and all is needed');
    if (body.all && body.confirm !== '*') {
      issues.addIssue({
        code: 'custom',
        message: 'Ending all sessions needs confirm: "*"',
        path: ['confirm'],
      });
    }
  });

const endMany = (context: HttpContext): Route =>
  route({
    method: 'post',
    path: '/v1/sessions/end',
    summary: 'End sessions by their ids, by a filter, or all of a tenant',
    description: 'At most 500 per call; call again while `more` is true.',
    tags: ['service'],
    security: SECURITY,
    body: endManyBody,
    guard: serviceGuard(context, 'sessions:admin'),
    responses: {
      200: {
        description: 'How many ended now.',
        schema: z.object({ processed: z.int(), more: z.boolean(), propagation: z.enum(['done', 'pending']) }),
      },
      ...REFUSALS,
    },
    handle: async ({ auth, body }) => {
      const { ids, filter, reason } = body;
      const tenantId = tenantFor(auth, body.tenant);
      const result = ids
        ? {
            ...(await context.sessions.end(await ownIds(context, ids, auth.tenant), reason, auth.actor)),
            more: false,
          }
        : await context.admin.endMatching(
            filterOf(context, filter ?? {}, tenantId, 'all'),
            reason,
            auth.actor,
          );
      return {
        status: 200,
        body: { processed: result.ended, more: result.more, propagation: result.propagated },
      };
    },
  });

/** Of these ids the ones that a key may touch. */
const ownIds = async ({ sessions }: HttpContext, texts: readonly string[], only: string | null) => {
  const ids = texts.map(parseSessionId).filter((id) => id !== undefined);
  if (only === null) return ids;
  return (await sessions.findMany(ids)).filter((session) => session.tenant === only).map(({ id }) => id);
};
