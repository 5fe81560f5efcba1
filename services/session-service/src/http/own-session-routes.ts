import { type Route, type RouteReply, route } from '@muster/http/route';
import { AppError } from '@muster/protocol/errors';
import { parseSessionId } from '@muster/session/token';
import { z } from 'zod';
import { issueCsrfToken } from '../core/csrf.ts';
import type { SessionRecord } from '../core/session.ts';
import type { EndResult } from '../core/sessions.ts';
import type { HttpContext } from './context.ts';
import { sessionPage } from './paging.ts';
import {
  endedSchema,
  listQuery,
  pageSchema,
  pendingSchema,
  sessionIdSchema,
  sessionSchema,
} from './schemas.ts';
import { etagOf, sessionDto } from './session-dto.ts';
import { logoutGuard, noCookie, type UserCaller, userGuard } from './session-guard.ts';

const SECURITY = ['sessionCookie', 'sessionBearer'] as const;
const CSRF_NONCE_BYTES = 16;
const UNAUTHORIZED = { 401: { description: 'No session, or one that is over.' } };
const UNAVAILABLE = { 503: { description: 'Cannot be decided just now; try again.' } };
const PENDING = {
  202: { description: 'Ended; the fleet will hear of it within seconds.', schema: pendingSchema },
};

/** Routes for whoever holds a session. */
export const ownSessionRoutes = (context: HttpContext): Route[] => [
  whoAmI(context),
  csrfToken(context),
  logout(context),
  listMine(context),
  endMine(context),
  endAllMine(context),
];

const whoAmI = (context: HttpContext): Route =>
  route({
    method: 'get',
    path: '/v1/session',
    summary: 'The session of this request',
    description:
      'The entity tag is the revision of the session. With passive=true it does not count as activity.',
    tags: ['user'],
    security: SECURITY,
    query: z.strictObject({ passive: z.enum(['true', 'false']).optional() }),
    guard: userGuard(context, { unsafe: false }),
    responses: {
      200: { description: 'The session.', schema: sessionSchema },
      304: { description: 'The revision in If-None-Match is the current one.' },
      ...UNAUTHORIZED,
      ...UNAVAILABLE,
    },
    handle: async ({ auth, req }) => {
      const headers = { ETag: etagOf(auth.snapshot) };
      if (req.headers['if-none-match'] === headers.ETag) return { status: 304, headers };
      const [session, [sockets = null]] = await Promise.all([
        wholeSession(context, auth),
        context.presence.socketsOf([auth.snapshot.id]),
      ]);
      return { status: 200, headers, body: sessionDto(session, { current: true, withData: true, sockets }) };
    },
  });

/** A snapshot leaves out data beyond 2 KiB. */
const wholeSession = async (
  { sessions }: HttpContext,
  caller: UserCaller,
): Promise<SessionRecord | UserCaller['snapshot']> => {
  if (caller.snapshot.data !== undefined) return caller.snapshot;
  return caller.record ?? (await sessions.find(caller.snapshot.id)) ?? caller.snapshot;
};

const csrfToken = (context: HttpContext): Route =>
  route({
    method: 'get',
    path: '/v1/session/csrf',
    summary: 'A token for changes by clients that send neither Sec-Fetch-Site nor Origin',
    tags: ['user'],
    security: SECURITY,
    guard: userGuard(context, { unsafe: false }),
    responses: {
      200: {
        description: 'Good until the secret of the session changes.',
        schema: z.object({ token: z.string() }),
      },
      ...UNAUTHORIZED,
      ...UNAVAILABLE,
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
    summary: 'Log out',
    tags: ['user'],
    security: SECURITY,
    query: z.strictObject({ clear: z.literal('site-data').optional() }),
    guard: logoutGuard(context),
    responses: {
      204: { description: 'Ended, now or earlier; the cookie is cleared.' },
      ...PENDING,
      ...UNAUTHORIZED,
      403: { description: 'The request comes from a page of another site.' },
      ...UNAVAILABLE,
    },
    handle: async ({ auth, query }) => {
      const headers = {
        ...(auth.via === 'cookie' ? { 'Set-Cookie': noCookie(context) } : {}),
        ...(query.clear === 'site-data' ? { 'Clear-Site-Data': '"cookies"' } : {}),
      };
      if ('over' in auth) return { status: 204, headers };
      return ended(await context.sessions.end([auth.snapshot.id], 'logout', auth.actor), headers);
    },
  });

/** 204 once every reader knows, 202 while Redis is away. */
export const ended = ({ propagated }: EndResult, headers: RouteReply['headers'] = {}): RouteReply =>
  propagated === 'done'
    ? { status: 204, headers }
    : { status: 202, headers, body: { propagation: 'pending' } };

const listMine = (context: HttpContext): Route =>
  route({
    method: 'get',
    path: '/v1/me/sessions',
    summary: 'The sessions of this user, newest first',
    tags: ['user'],
    security: SECURITY,
    query: listQuery,
    guard: userGuard(context, { unsafe: false }),
    responses: {
      200: { description: 'A page of sessions, without their data.', schema: pageSchema },
      400: { description: 'The cursor is not one of this list.' },
      ...UNAUTHORIZED,
      ...UNAVAILABLE,
    },
    handle: async ({ auth, query }) => {
      const { id, tenant, userId } = auth.snapshot;
      if (userId === null) {
        const [sockets = null] = await context.presence.socketsOf([id]);
        const only = sessionDto(auth.snapshot, { current: true, withData: false, sockets });
        return { status: 200, body: { items: [only], next: null } };
      }
      const { state, cursor, limit } = query;
      return sessionPage(context, {
        path: '/v1/me/sessions',
        filter: [tenant, userId, state],
        cursor,
        limit,
        current: id,
        read: (after, count) =>
          context.sessions.list({
            tenant,
            userId,
            state,
            limit: count,
            ...(after === undefined ? {} : { after }),
          }),
      });
    },
  });

const endMine = (context: HttpContext): Route =>
  route({
    method: 'delete',
    path: '/v1/me/sessions/:id',
    summary: 'End one session of this user',
    tags: ['user'],
    security: SECURITY,
    params: z.object({ id: sessionIdSchema }),
    guard: userGuard(context, { unsafe: true }),
    responses: {
      204: { description: 'Ended, now or earlier.' },
      ...PENDING,
      ...UNAUTHORIZED,
      403: { description: 'The request comes from a page of another site.' },
      404: { description: 'No session of this user has this id.' },
      ...UNAVAILABLE,
    },
    handle: async ({ auth, params }) => {
      const own = auth.snapshot;
      const id = parseSessionId(params.id);
      const isOwn = id === own.id;
      const found = id === undefined || isOwn ? undefined : await context.sessions.find(id);
      const isMine =
        isOwn ||
        (found !== undefined &&
          own.userId !== null &&
          found.userId === own.userId &&
          found.tenant === own.tenant);
      if (id === undefined || !isMine) throw new AppError('NOT_FOUND');
      const headers = isOwn && auth.via === 'cookie' ? { 'Set-Cookie': noCookie(context) } : {};
      return ended(await context.sessions.end([id], isOwn ? 'logout' : 'revoked', auth.actor), headers);
    },
  });

/** "All" is never what is left when something else was forgotten. */
const endAllQuery = z
  .strictObject({ except: z.literal('current').optional(), all: z.literal('true').optional() })
  .refine(
    ({ except, all }) => (except === undefined) !== (all === undefined),
    'Exactly one of except=current and all=true is needed',
  );

const endAllMine = (context: HttpContext): Route =>
  route({
    method: 'delete',
    path: '/v1/me/sessions',
    summary: 'End all sessions of this user, or all but this one',
    tags: ['user'],
    security: SECURITY,
    description:
      'Says which: `except=current` keeps this one, `all=true` keeps none. Without either nothing ends.',
    query: endAllQuery,
    guard: userGuard(context, { unsafe: true }),
    responses: {
      200: { description: 'How many ended.', schema: endedSchema },
      ...UNAUTHORIZED,
      403: { description: 'The request comes from a page of another site.' },
      422: { description: 'It is not said which sessions are to end.' },
      ...UNAVAILABLE,
    },
    handle: async ({ auth, query }) => {
      const { id, tenant, userId } = auth.snapshot;
      const keepsOwn = query.except === 'current';
      const result = await endAll(context, auth, { id, tenant, userId, keepsOwn });
      const clears = !keepsOwn && auth.via === 'cookie';
      return {
        status: 200,
        headers: clears ? { 'Set-Cookie': noCookie(context) } : {},
        body: { ended: result.ended, propagation: result.propagated },
      };
    },
  });

const endAll = (
  { sessions }: HttpContext,
  { actor }: UserCaller,
  own: { id: UserCaller['snapshot']['id']; tenant: string; userId: string | null; keepsOwn: boolean },
): Promise<EndResult> => {
  const { id, tenant, userId, keepsOwn } = own;
  if (userId === null) {
    return keepsOwn ? Promise.resolve({ ended: 0, propagated: 'done' }) : sessions.end([id], 'logout', actor);
  }
  return keepsOwn
    ? sessions.endOfUser({ tenant, userId, except: id }, 'revoked_others', actor)
    : sessions.endOfUser({ tenant, userId }, 'revoked_all', actor);
};
