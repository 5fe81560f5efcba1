import { type Route, route } from '@muster/http/route';
import { parseSessionId } from '@muster/session/token';
import { z } from 'zod';
import { POLICIES } from '../core/policies.ts';
import type { UserRules } from '../core/ports.ts';
import { LIMIT_RULES } from '../core/session.ts';
import { DEFAULT_LIMIT } from '../core/session-limit.ts';
import type { HttpContext } from './context.ts';
import { eventDto, eventSchema } from './event-routes.ts';
import { sessionPage } from './paging.ts';
import {
  endedSchema,
  listQuery,
  pageSchema,
  reasonSchema,
  sessionIdSchema,
  sessionSchema,
  tenant,
  userId,
} from './schemas.ts';
import { serviceGuard, tenantFor } from './service-guard.ts';
import { sessionDto } from './session-dto.ts';

const SECURITY = ['serviceKey'] as const;
const EXPORTED_EVENTS = 10_000;
const REFUSALS = {
  401: { description: 'No API key, or a wrong one.' },
  403: { description: 'The key lacks the scope.' },
  422: { description: 'The request is not valid.' },
  503: { description: 'Cannot be done just now; try again.' },
};
const params = z.object({ uid: userId });
const ofTenant = z.strictObject({ tenant: tenant.optional() });

const rulesSchema = z.object({
  max_sessions: z.int().nullable(),
  at_limit: z.enum(LIMIT_RULES).nullable(),
  disabled: z.boolean(),
});

/** Routes about one user as a back end sees them. */
export const userRoutes = (context: HttpContext): Route[] => [
  listOfUser(context),
  endOfUser(context),
  putUser(context),
  exportUser(context),
  eraseUser(context),
  policies(context),
];

const listOfUser = (context: HttpContext): Route =>
  route({
    method: 'get',
    path: '/v1/users/:uid/sessions',
    summary: 'The sessions of a user, newest first',
    tags: ['service'],
    security: SECURITY,
    params,
    query: listQuery.extend(ofTenant.shape),
    guard: serviceGuard(context, 'sessions:read'),
    responses: {
      200: { description: 'A page of sessions, without their data.', schema: pageSchema },
      400: { description: 'The cursor is not one of this list.' },
      ...REFUSALS,
    },
    handle: ({ auth, params: { uid }, query }) => {
      const tenantId = tenantFor(auth, query.tenant);
      const { state, cursor, limit } = query;
      return sessionPage(context, {
        path: `/v1/users/${encodeURIComponent(uid)}/sessions`,
        filter: [tenantId, uid, state],
        cursor,
        limit,
        read: (after, count) =>
          context.sessions.list({
            tenant: tenantId,
            userId: uid,
            state,
            limit: count,
            ...(after === undefined ? {} : { after }),
          }),
      });
    },
  });

const endOfUser = (context: HttpContext): Route =>
  route({
    method: 'delete',
    path: '/v1/users/:uid/sessions',
    summary: 'End all sessions of a user, or all but one',
    tags: ['service'],
    security: SECURITY,
    params,
    query: ofTenant.extend({ except: sessionIdSchema.optional() }),
    guard: serviceGuard(context, 'sessions:end'),
    responses: { 200: { description: 'How many ended.', schema: endedSchema }, ...REFUSALS },
    handle: async ({ auth, params: { uid }, query }) => {
      const except = query.except === undefined ? undefined : parseSessionId(query.except);
      const which = { tenant: tenantFor(auth, query.tenant), userId: uid, ...(except ? { except } : {}) };
      const reason = except ? 'revoked_others' : 'revoked_all';
      const { ended, propagated } = await context.sessions.endOfUser(which, reason, auth.actor);
      return { status: 200, body: { ended, propagation: propagated } };
    },
  });

const putUser = (context: HttpContext): Route =>
  route({
    method: 'put',
    path: '/v1/users/:uid',
    summary: 'Set the limit of a user, or disable the user, which ends all sessions',
    description: 'What is left out stays; null takes the default back. A lower limit ends nobody by itself.',
    tags: ['service'],
    security: SECURITY,
    params,
    query: ofTenant,
    body: z.strictObject({
      max_sessions: z.int().min(1).max(10_000).nullable().optional(),
      at_limit: z.enum(LIMIT_RULES).nullable().optional(),
      disabled: z.boolean().optional(),
      reason: reasonSchema.optional(),
    }),
    guard: serviceGuard(context, 'sessions:admin'),
    responses: {
      200: { description: 'The rules as they are now.', schema: rulesSchema.extend(endedSchema.shape) },
      ...REFUSALS,
    },
    handle: async ({ auth, params: { uid }, query, body }) => {
      const which = { tenant: tenantFor(auth, query.tenant), userId: uid };
      const { max_sessions: maxSessions, at_limit: atLimit, disabled, reason: why } = body;
      const wanted = { maxSessions, atLimit, disabled, reason: why };
      const { rules, result } = await context.admin.putRules(which, wanted, auth.actor);
      return {
        status: 200,
        body: { ...viewRules(rules), ended: result.ended, propagation: result.propagated },
      };
    },
  });

const viewRules = ({ maxSessions, atLimit, disabled }: UserRules) => ({
  max_sessions: maxSessions,
  at_limit: atLimit,
  disabled,
});

const exportUser = (context: HttpContext): Route =>
  route({
    method: 'get',
    path: '/v1/users/:uid/export',
    summary: 'Everything that is kept about a person',
    tags: ['service'],
    security: SECURITY,
    params,
    query: ofTenant,
    guard: serviceGuard(context, 'privacy'),
    responses: {
      200: {
        description: 'Sessions with their data, and the log book.',
        schema: z.object({
          user_id: z.string(),
          tenant: z.string(),
          sessions: z.array(sessionSchema),
          events: z.array(eventSchema),
        }),
      },
      ...REFUSALS,
    },
    handle: async ({ auth, params: { uid }, query }) => {
      const tenantId = tenantFor(auth, query.tenant);
      const [sessions, events] = await Promise.all([
        context.admin.sessionsOfUser(tenantId, uid),
        context.admin.eventsOfUser({
          tenant: tenantId,
          userId: uid,
          before: undefined,
          limit: EXPORTED_EVENTS,
        }),
      ]);
      return {
        status: 200,
        body: {
          user_id: uid,
          tenant: tenantId,
          sessions: sessions.map((one) => sessionDto(one, { current: false, withData: true })),
          events: events.map(eventDto),
        },
      };
    },
  });

const eraseUser = (context: HttpContext): Route =>
  route({
    method: 'delete',
    path: '/v1/users/:uid',
    summary: 'Forget a person: end and delete all sessions, take the person out of the log book',
    tags: ['service'],
    security: SECURITY,
    params,
    query: ofTenant,
    guard: serviceGuard(context, 'privacy'),
    responses: {
      200: {
        description: 'A receipt; a second call finds nothing.',
        schema: z.object({ sessions: z.int(), events: z.int(), propagation: z.enum(['done', 'pending']) }),
      },
      ...REFUSALS,
    },
    handle: async ({ auth, params: { uid }, query }) => {
      const which = { tenant: tenantFor(auth, query.tenant), userId: uid };
      const { sessions, events, propagated } = await context.admin.erase(which, auth.actor);
      return { status: 200, body: { sessions, events, propagation: propagated } };
    },
  });

const policies = (context: HttpContext): Route =>
  route({
    method: 'get',
    path: '/v1/policies',
    summary: 'The clocks and limits by which sessions are opened',
    tags: ['service'],
    security: SECURITY,
    guard: serviceGuard(context, 'sessions:read'),
    responses: {
      200: {
        description: 'Seconds, by policy; 0 is no idle limit.',
        schema: z.object({
          policies: z.record(z.string(), z.object({ idle_seconds: z.int(), max_seconds: z.int() })),
          max_sessions: z.int(),
          at_limit: z.enum(LIMIT_RULES),
        }),
      },
      ...REFUSALS,
    },
    handle: () => ({
      status: 200,
      body: {
        policies: Object.fromEntries(
          Object.entries(POLICIES).map(([name, { idleSeconds, maxSeconds }]) => [
            name,
            { idle_seconds: idleSeconds, max_seconds: maxSeconds },
          ]),
        ),
        max_sessions: DEFAULT_LIMIT.maxSessions,
        at_limit: DEFAULT_LIMIT.atLimit,
      },
    }),
  });
