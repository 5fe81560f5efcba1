import { type Route, type RouteReply, route } from '@muster/http/route';
import { AppError } from '@muster/protocol/errors';
import { parseSessionId } from '@muster/session/token';
import { z } from 'zod';
import { issueCsrfToken } from '../core/csrf.ts';
import type { SessionRecord } from '../core/session-record.ts';
import type { EndResult } from '../core/session-service.ts';
import { FOREIGN_PAGE, USER_RESPONSES, USER_SECURITY, userRoute } from './authenticated-routes.ts';
import { belongsTo } from './change-routes.ts';
import type { HttpContext } from './context.ts';
import { listPage } from './paging.ts';
import { endedSchema, listQuery, pageSchema, pendingSchema, sessionIdSchema, sessionSchema } from './schemas.ts';
import { etagOf, sessionDto } from './session-dto.ts';
import { clearedSessionCookie, logoutGuard, type UserCaller } from './session-guard.ts';

const CSRF_NONCE_BYTES = 16;

/** Responses of the end of one session. */
export const ENDED_RESPONSES = {
  202: { description: 'The session has ended; the fleet follows within seconds.', schema: pendingSchema },
  204: { description: 'The session has ended, now or earlier.' },
};

/** Routes for the holder of a session. */
export const ownSessionRoutes = (context: HttpContext): Route[] => [
  getOwn(context),
  csrfToken(context),
  logout(context),
  listMine(context),
  endMine(context),
  endAllMine(context),
];

const getOwn = (context: HttpContext): Route =>
  userRoute(context, {
    method: 'get',
    path: '/v1/session',
    summary: 'Get the session of this request',
    description:
      'The entity tag is the revision of the session. With `passive=true` the request is not recorded as activity.',
    query: z.strictObject({ passive: z.enum(['true', 'false']).optional() }),
    responses: {
      200: { description: 'The session.', schema: sessionSchema },
      304: { description: 'If-None-Match has the current revision.' },
    },
    handle: async ({ auth, req }) => {
      const headers = { ETag: etagOf(auth.snapshot) };
      if (req.headers['if-none-match'] === headers.ETag) return { status: 304, headers };
      const [session, [sockets = null]] = await Promise.all([
        withFullData(context, auth),
        context.presence.socketsOf([auth.snapshot.id]),
      ]);
      return { status: 200, headers, body: sessionDto(session, { current: true, withData: true, sockets }) };
    },
  });

/** A snapshot omits data above 2 KiB; then the session is read from Postgres. */
const withFullData = async (
  { sessions }: HttpContext,
  caller: UserCaller,
): Promise<SessionRecord | UserCaller['snapshot']> => {
  if (caller.snapshot.data !== undefined) return caller.snapshot;
  return caller.record ?? (await sessions.find(caller.snapshot.id)) ?? caller.snapshot;
};

const csrfToken = (context: HttpContext): Route =>
  userRoute(context, {
    method: 'get',
    path: '/v1/session/csrf',
    summary: 'Issue a CSRF token, for clients that send neither Sec-Fetch-Site nor Origin',
    responses: {
      200: {
        description: 'Valid until the secret of the session changes.',
        schema: z.object({ token: z.string() }),
      },
    },
    handle: ({ auth }) => ({
      status: 200,
      body: { token: issueCsrfToken(context.keys, auth.snapshot, context.random.bytes(CSRF_NONCE_BYTES)) },
    }),
  });

const logout = (context: HttpContext): Route =>
  route({
    method: 'delete',
    path: '/v1/session',
    summary: 'Sign out',
    description: 'Clears the cookie, also of a session that has ended already.',
    tags: ['user'],
    security: USER_SECURITY,
    query: z.strictObject({ clear: z.literal('site-data').optional() }),
    guard: logoutGuard(context),
    responses: { ...ENDED_RESPONSES, ...USER_RESPONSES, ...FOREIGN_PAGE },
    handle: async ({ auth, query }) => {
      const headers = {
        ...(auth.via === 'cookie' ? { 'Set-Cookie': clearedSessionCookie(context) } : {}),
        ...(query.clear === 'site-data' ? { 'Clear-Site-Data': '"cookies"' } : {}),
      };
      if ('hasEnded' in auth) return { status: 204, headers };
      return endedReply(await context.sessions.end([auth.snapshot.id], 'logout', auth.actor), headers);
    },
  });

/** 204 once the end is propagated, 202 while Redis is unavailable. */
export const endedReply = ({ propagated }: EndResult, headers: RouteReply['headers'] = {}): RouteReply =>
  propagated === 'done' ? { status: 204, headers } : { status: 202, headers, body: { propagation: 'pending' } };

const listMine = (context: HttpContext): Route =>
  userRoute(context, {
    method: 'get',
    path: '/v1/me/sessions',
    summary: 'List the sessions of this user, newest first',
    query: listQuery,
    responses: {
      200: { description: 'A page of sessions, without their data.', schema: pageSchema },
      400: { description: 'The cursor does not belong to this list.' },
    },
    handle: async ({ auth, query }) => {
      const { id, tenant, userId } = auth.snapshot;
      if (userId !== null) {
        return listPage(context, { path: '/v1/me/sessions', tenant, userId, query, current: id });
      }
      const [sockets = null] = await context.presence.socketsOf([id]);
      const own = sessionDto(auth.snapshot, { current: true, withData: false, sockets });
      return { status: 200, body: { items: [own], next: null } };
    },
  });

const endMine = (context: HttpContext): Route =>
  userRoute(context, {
    method: 'delete',
    path: '/v1/me/sessions/:id',
    summary: 'End a session of this user',
    params: z.object({ id: sessionIdSchema }),
    responses: {
      ...ENDED_RESPONSES,
      404: { description: 'No session of this user has this id.' },
    },
    handle: async ({ auth, params }) => {
      const own = auth.snapshot;
      const id = parseSessionId(params.id);
      const isOwn = id === own.id;
      const found = id === undefined || isOwn ? undefined : await context.sessions.find(id);
      if (id === undefined || !(isOwn || (found && belongsTo(found, own)))) throw new AppError('NOT_FOUND');
      const headers = isOwn && auth.via === 'cookie' ? { 'Set-Cookie': clearedSessionCookie(context) } : {};
      return endedReply(await context.sessions.end([id], isOwn ? 'logout' : 'revoked', auth.actor), headers);
    },
  });

/** The parameter is required: a forgotten parameter must not mean all sessions. */
const endAllQuery = z
  .strictObject({ except: z.literal('current').optional(), all: z.literal('true').optional() })
  .refine(
    ({ except, all }) => (except === undefined) !== (all === undefined),
    'Exactly one of except=current and all=true is required',
  );

const endAllMine = (context: HttpContext): Route =>
  userRoute(context, {
    method: 'delete',
    path: '/v1/me/sessions',
    summary: 'End all sessions of this user, or all others',
    description: 'Requires `except=current`, which keeps this session, or `all=true`, which keeps none.',
    query: endAllQuery,
    responses: { 200: { description: 'The number of sessions that ended.', schema: endedSchema } },
    handle: async ({ auth, query }) => {
      const keepsOwn = query.except === 'current';
      const { ended, propagated } = await endAll(context, auth, keepsOwn);
      const headers = !keepsOwn && auth.via === 'cookie' ? { 'Set-Cookie': clearedSessionCookie(context) } : {};
      return { status: 200, headers, body: { ended, propagation: propagated } };
    },
  });

const endAll = async (
  { sessions }: HttpContext,
  { actor, snapshot: { id, tenant, userId } }: UserCaller,
  keepsOwn: boolean,
): Promise<EndResult> => {
  if (userId === null) {
    return keepsOwn ? { ended: 0, propagated: 'done' } : sessions.end([id], 'logout', actor);
  }
  return keepsOwn
    ? sessions.endOfUser({ tenant, userId, except: id }, 'revoked_others', actor)
    : sessions.endOfUser({ tenant, userId }, 'revoked_all', actor);
};
