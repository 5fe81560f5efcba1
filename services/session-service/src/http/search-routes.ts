import type { Route } from '@muster/http/route';
import { parseSessionId } from '@muster/session/token';
import { z } from 'zod';
import type { IpAnonymizer } from '../core/ip-anonymization.ts';
import type { SearchFilter } from '../core/ports.ts';
import { END_REASONS } from '../core/session-record.ts';
import { serviceRoute } from './authenticated-routes.ts';
import type { HttpContext } from './context.ts';
import { sessionPage } from './paging.ts';
import { listQuery, pageSchema, propagationSchema, sessionIdSchema, tenant, text } from './schemas.ts';
import { tenantFor } from './service-guard.ts';

const MAX_IDS = 500;

const instant = z.iso.datetime({ offset: true }).transform((iso) => Date.parse(iso));
/** An address or a network in the notation of Postgres. */
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

/** Routes that search or end sessions of many users. */
export const searchRoutes = (context: HttpContext): Route[] => [search(context), endMany(context)];

const filterOf = (
  { addresses }: HttpContext,
  filter: z.output<typeof filterSchema>,
  tenantId: string,
  state: SearchFilter['state'],
): SearchFilter => ({
  tenant: tenantId,
  state,
  userId: filter.user_id,
  ...ipFilterOf(addresses, filter.ip),
  deviceId: filter.device_id,
  client: filter.client,
  q: filter.q,
  createdFrom: filter.created_from,
  createdTo: filter.created_to,
  seenBefore: filter.seen_before,
  idp: filter.idp,
  idpSid: filter.idp_sid,
  idpSub: filter.idp_sub,
});

/** A single address is compared with its stored forms; a network matches the addresses in it. */
const ipFilterOf = (addresses: IpAnonymizer, ip: string | undefined): Pick<SearchFilter, 'ip' | 'addresses'> => {
  const forms = ip === undefined ? undefined : addresses.storedForms(ip);
  return forms === undefined ? { ip } : { addresses: forms };
};

const search = (context: HttpContext): Route =>
  serviceRoute(context, 'sessions:search', {
    method: 'get',
    path: '/v1/sessions',
    summary: 'Search the sessions of a tenant, newest first',
    description:
      'Text is compared literally; `q` is a substring of the label or the user agent, `ip` may be a network.',
    query: listQuery.extend({ ...filters, tenant: tenant.optional() }),
    responses: {
      200: { description: 'A page of sessions, without their data.', schema: pageSchema },
      400: { description: 'The cursor does not belong to this search.' },
    },
    handle: ({ auth, query }) => {
      const { limit, cursor, state, tenant: requested, ...rest } = query;
      const filter = filterOf(context, rest, tenantFor(auth, requested), state);
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
    filter: filterSchema.refine((filter) => Object.keys(filter).length > 0, 'An empty filter is `all`').optional(),
    all: z.literal(true).optional(),
    confirm: z.literal('*').optional(),
    reason: z.enum(END_REASONS).default('admin'),
    tenant: tenant.optional(),
  })
  .superRefine((body, issues) => {
    const selections = [body.ids, body.filter, body.all].filter((selection) => selection !== undefined);
    if (selections.length !== 1) issues.addIssue('Exactly one of ids, filter and all is required');
    if (body.all && body.confirm !== '*') {
      issues.addIssue({
        code: 'custom',
        message: 'Ending all sessions requires confirm: "*"',
        path: ['confirm'],
      });
    }
  });

const endMany = (context: HttpContext): Route =>
  serviceRoute(context, 'sessions:admin', {
    method: 'post',
    path: '/v1/sessions/end',
    summary: 'End sessions by id, by filter, or all of a tenant',
    description: 'Ends at most 500 per call; call again while `more` is true.',
    body: endManyBody,
    responses: {
      200: {
        description: 'The number of sessions that ended.',
        schema: z.object({ processed: z.int(), more: z.boolean(), propagation: propagationSchema }),
      },
    },
    handle: async ({ auth, body }) => {
      const { ids, filter, reason } = body;
      const tenantId = tenantFor(auth, body.tenant);
      const { ended, more, propagated } = ids
        ? {
            ...(await context.sessions.end(await visibleIds(context, ids, auth.tenant), reason, auth.actor)),
            more: false,
          }
        : await context.admin.endMatching(filterOf(context, filter ?? {}, tenantId, 'all'), reason, auth.actor);
      return { status: 200, body: { processed: ended, more, propagation: propagated } };
    },
  });

/** The ids of sessions of the tenant; null accepts all tenants. */
const visibleIds = async ({ sessions }: HttpContext, texts: readonly string[], tenantId: string | null) => {
  const ids = texts.map(parseSessionId).filter((id) => id !== undefined);
  if (tenantId === null) return ids;
  return (await sessions.findMany(ids)).filter((session) => session.tenant === tenantId).map(({ id }) => id);
};
