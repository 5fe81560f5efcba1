import type { Route } from '@muster/http/route';
import { defined } from '@muster/kit/defined';
import { parseSessionId } from '@muster/session/token';
import { z } from 'zod';
import { DEFAULT_LIMIT } from '../core/session-limit.ts';
import { POLICIES } from '../core/session-policies.ts';
import { LIMIT_RULES } from '../core/session-record.ts';
import { serviceRoute } from './authenticated-routes.ts';
import type { HttpContext } from './context.ts';
import { eventDto, eventSchema } from './event-routes.ts';
import { listPage } from './paging.ts';
import {
  endedSchema,
  listQuery,
  pageSchema,
  propagationSchema,
  reasonSchema,
  sessionIdSchema,
  sessionSchema,
  tenant,
  userId,
} from './schemas.ts';
import { tenantFor } from './service-guard.ts';
import { sessionDto } from './session-dto.ts';

const EXPORTED_EVENTS = 10_000;
const params = z.object({ uid: userId });
const tenantQuery = z.strictObject({ tenant: tenant.optional() });

const rulesSchema = z.object({
  max_sessions: z.int().nullable(),
  at_limit: z.enum(LIMIT_RULES).nullable(),
  disabled: z.boolean(),
});

/** Routes on one user, for back ends. */
export const userRoutes = (context: HttpContext): Route[] => [
  listOfUser(context),
  endOfUser(context),
  putUser(context),
  exportUser(context),
  eraseUser(context),
  policies(context),
];

const listOfUser = (context: HttpContext): Route =>
  serviceRoute(context, 'sessions:read', {
    method: 'get',
    path: '/v1/users/:uid/sessions',
    summary: 'List the sessions of a user, newest first',
    params,
    query: listQuery.extend(tenantQuery.shape),
    responses: {
      200: { description: 'A page of sessions, without their data.', schema: pageSchema },
      400: { description: 'The cursor does not belong to this list.' },
    },
    handle: ({ auth, params: { uid }, query }) =>
      listPage(context, {
        path: `/v1/users/${encodeURIComponent(uid)}/sessions`,
        tenant: tenantFor(auth, query.tenant),
        userId: uid,
        query,
      }),
  });

const endOfUser = (context: HttpContext): Route =>
  serviceRoute(context, 'sessions:end', {
    method: 'delete',
    path: '/v1/users/:uid/sessions',
    summary: 'End all sessions of a user, or all but one',
    params,
    query: tenantQuery.extend({ except: sessionIdSchema.optional() }),
    responses: { 200: { description: 'The number of sessions that ended.', schema: endedSchema } },
    handle: async ({ auth, params: { uid }, query }) => {
      const except = query.except === undefined ? undefined : parseSessionId(query.except);
      const user = { tenant: tenantFor(auth, query.tenant), userId: uid, ...defined({ except }) };
      const reason = except ? 'revoked_others' : 'revoked_all';
      const { ended, propagated } = await context.sessions.endOfUser(user, reason, auth.actor);
      return { status: 200, body: { ended, propagation: propagated } };
    },
  });

const putUser = (context: HttpContext): Route =>
  serviceRoute(context, 'sessions:admin', {
    method: 'put',
    path: '/v1/users/:uid',
    summary: 'Set the session limit of a user, or disable the user, which ends all sessions',
    description: 'Absent members stay as they are; null restores the default. A lower limit does not end sessions.',
    params,
    query: tenantQuery,
    body: z.strictObject({
      max_sessions: z.int().min(1).max(10_000).nullable().optional(),
      at_limit: z.enum(LIMIT_RULES).nullable().optional(),
      disabled: z.boolean().optional(),
      reason: reasonSchema.optional(),
    }),
    responses: {
      200: { description: 'The rules after the change.', schema: rulesSchema.extend(endedSchema.shape) },
    },
    handle: async ({ auth, params: { uid }, query, body }) => {
      const user = { tenant: tenantFor(auth, query.tenant), userId: uid };
      const { max_sessions: maxSessions, at_limit: atLimit, disabled, reason } = body;
      const patch = { maxSessions, atLimit, disabled, reason };
      const { rules, result } = await context.admin.putRules(user, patch, auth.actor);
      return {
        status: 200,
        body: {
          max_sessions: rules.maxSessions,
          at_limit: rules.atLimit,
          disabled: rules.disabled,
          ended: result.ended,
          propagation: result.propagated,
        },
      };
    },
  });

const exportUser = (context: HttpContext): Route =>
  serviceRoute(context, 'privacy', {
    method: 'get',
    path: '/v1/users/:uid/export',
    summary: 'Export all data of a user',
    params,
    query: tenantQuery,
    responses: {
      200: {
        description: 'Sessions with their data, and events.',
        schema: z.object({
          user_id: z.string(),
          tenant: z.string(),
          sessions: z.array(sessionSchema),
          events: z.array(eventSchema),
        }),
      },
    },
    handle: async ({ auth, params: { uid }, query }) => {
      const user = { tenant: tenantFor(auth, query.tenant), userId: uid };
      const [sessions, events] = await Promise.all([
        context.admin.sessionsOfUser(user.tenant, uid),
        context.admin.eventsOfUser({ ...user, before: undefined, limit: EXPORTED_EVENTS }),
      ]);
      return {
        status: 200,
        body: {
          user_id: uid,
          tenant: user.tenant,
          sessions: sessions.map((session) => sessionDto(session, { current: false, withData: true })),
          events: events.map(eventDto),
        },
      };
    },
  });

const eraseUser = (context: HttpContext): Route =>
  serviceRoute(context, 'privacy', {
    method: 'delete',
    path: '/v1/users/:uid',
    summary: 'Erase a user: end and delete all sessions, anonymize the audit log',
    params,
    query: tenantQuery,
    responses: {
      200: {
        description: 'A receipt. A repeated call finds no data.',
        schema: z.object({ sessions: z.int(), events: z.int(), propagation: propagationSchema }),
      },
    },
    handle: async ({ auth, params: { uid }, query }) => {
      const user = { tenant: tenantFor(auth, query.tenant), userId: uid };
      const { propagated, ...counts } = await context.admin.erase(user, auth.actor);
      return { status: 200, body: { ...counts, propagation: propagated } };
    },
  });

const policies = (context: HttpContext): Route =>
  serviceRoute(context, 'sessions:read', {
    method: 'get',
    path: '/v1/policies',
    summary: 'List the session policies and the default session limit',
    responses: {
      200: {
        description: 'Lifetimes in seconds by policy; 0: without an idle limit.',
        schema: z.object({
          policies: z.record(z.string(), z.object({ idle_seconds: z.int(), max_seconds: z.int() })),
          max_sessions: z.int(),
          at_limit: z.enum(LIMIT_RULES),
        }),
      },
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
