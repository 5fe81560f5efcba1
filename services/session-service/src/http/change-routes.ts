import { type Route, type RouteReply, route } from '@muster/http/route';
import { ValidationFailure } from '@muster/http/validation';
import { AppError } from '@muster/protocol/errors';
import { parseSessionId, type SessionId } from '@muster/session/token';
import type { Request } from 'express';
import { z } from 'zod';
import type { ChangeOf } from '../core/ports.ts';
import type { PatchResult } from '../core/session-changes.ts';
import type { HttpContext } from './context.ts';
import { idempotencyOf } from './idempotency.ts';
import {
  MAX_DATA_BYTES,
  patchLabelBody,
  patchOwnBody,
  patchSessionBody,
  sessionCreatedSchema,
  sessionIdSchema,
  sessionSchema,
  stepUpBody,
  upgradeBody,
} from './schemas.ts';
import {
  requireGrantable,
  requireGrantableSession,
  requireVisible,
  type ServiceCaller,
  serviceGuard,
} from './service-guard.ts';
import { etagOf, sessionDto } from './session-dto.ts';
import { type UserCaller, userGuard } from './session-guard.ts';
import { changeErrorReply, privilegeChangeReply, setSessionCookie } from './session-response.ts';

const USER = ['sessionCookie', 'sessionBearer'] as const;
const SERVICE = ['serviceKey'] as const;
const params = z.object({ id: sessionIdSchema });
const COMMON = {
  401: { description: 'No credential, or one that is over.' },
  503: { description: 'Cannot be done just now; try again.' },
};
const CHANGED = {
  200: { description: 'The session as it is now.', schema: sessionSchema },
  404: { description: 'There is no such session.' },
  409: { description: 'The session has ended.' },
  412: { description: 'The session is at another revision.' },
  422: { description: 'The body is not valid.' },
  428: { description: 'A change of data needs If-Match.' },
};

const TOO_WIDE = {
  403: { description: 'The key lacks the scope, or may not give the grants of the session.' },
};

/** Routes that change a session and leave it alive. */
export const changeRoutes = (context: HttpContext): Route[] => [
  patchOwn(context),
  rotateOwn(context),
  patchMine(context),
  patchAny(context),
  stepUp(context),
  upgrade(context),
  extend(context),
];

const patchOwn = (context: HttpContext): Route =>
  route({
    method: 'patch',
    path: '/v1/session',
    summary: 'Change label or data of this session (JSON merge patch)',
    description: 'A change of data needs `If-Match` with the ETag that was seen, or `*`.',
    tags: ['user'],
    security: USER,
    body: patchOwnBody,
    guard: userGuard(context, { unsafe: true }),
    responses: {
      ...CHANGED,
      ...COMMON,
      403: { description: 'The request comes from a page of another site.' },
    },
    handle: async ({ auth, body, req }) => {
      const rev = ifMatch(req, body.data !== undefined);
      const of = { id: auth.snapshot.id, rev, actor: auth.actor };
      const patch = { label: body.label, data: body.data, grants: undefined };
      return rewritten(await context.changes.patch(of, patch, requireSize), true);
    },
  });

const patchMine = (context: HttpContext): Route =>
  route({
    method: 'patch',
    path: '/v1/me/sessions/:id',
    summary: 'Give one of the sessions of this user another label',
    tags: ['user'],
    security: USER,
    params,
    body: patchLabelBody,
    guard: userGuard(context, { unsafe: true }),
    responses: {
      ...CHANGED,
      ...COMMON,
      403: { description: 'The request comes from a page of another site.' },
    },
    handle: async ({ auth, body, params: { id } }) => {
      const own = auth.snapshot;
      const wanted = parseSessionId(id);
      const found = wanted && (await context.sessions.find(wanted));
      if (!found || !belongsTo(found, own)) throw new AppError('NOT_FOUND');
      const of = { id: found.id, rev: undefined, actor: auth.actor };
      const patch = { label: body.label, data: undefined, grants: undefined };
      return rewritten(await context.changes.patch(of, patch, requireSize), found.id === own.id, false);
    },
  });

/** True if a session is the caller's own, or one of the same user. */
export const belongsTo = (
  found: { id: SessionId; userId: string | null; tenant: string },
  own: UserCaller['snapshot'],
): boolean =>
  found.id === own.id || (own.userId !== null && found.userId === own.userId && found.tenant === own.tenant);

const rotateOwn = (context: HttpContext): Route =>
  route({
    method: 'post',
    path: '/v1/session/rotate',
    summary: 'Take a new token; the old one stays good until the new one is used',
    tags: ['user'],
    security: USER,
    guard: userGuard(context, { unsafe: true }),
    responses: {
      200: {
        description: 'The session, with its new token where the client keeps it itself.',
        schema: sessionCreatedSchema,
      },
      403: { description: 'The request comes from a page of another site.' },
      409: { description: 'Rotated already: use the newer token.' },
      ...COMMON,
    },
    handle: async ({ auth }) => {
      const { id, secretHash } = auth.snapshot;
      // An old secret in its grace serves the request but mints nothing: the chain must not fork.
      const result =
        auth.secret === 'previous'
          ? undefined
          : await context.changes.rotate({ id, rev: undefined, actor: auth.actor }, secretHash);
      if (result?.ok) return setSessionCookie(context, result, { status: 200, by: auth.via, current: true });
      if (result?.why === 'ended' || result?.why === 'missing') throw new AppError('SESSION_ENDED');
      if (auth.via === 'bearer') throw new AppError('SESSION_ROTATED', { detail: 'Use the newer token.' });
      const session = (await context.sessions.find(id)) ?? auth.snapshot;
      return { status: 200, body: sessionDto(session, { current: true, withData: true }) };
    },
  });

const patchAny = (context: HttpContext): Route =>
  route({
    method: 'patch',
    path: '/v1/sessions/:id',
    summary: 'Change label, data (JSON merge patch) or grants of a session',
    description: 'A change of data needs `If-Match` with the ETag that was seen, or `*`.',
    tags: ['service'],
    security: SERVICE,
    params,
    body: patchSessionBody,
    guard: serviceGuard(context, 'sessions:write'),
    responses: { ...CHANGED, ...COMMON, ...TOO_WIDE },
    handle: async ({ auth, body, params: { id }, req }) => {
      requireGrantable(auth, body.grants);
      const rev = ifMatch(req, body.data !== undefined);
      const patch = { label: body.label, data: body.data, grants: body.grants, reason: body.reason };
      return rewritten(
        await context.changes.patch(await of(context, auth, id, rev), patch, requireSize),
        false,
      );
    },
  });

const stepUp = (context: HttpContext): Route =>
  route({
    method: 'post',
    path: '/v1/sessions/:id/step-up',
    summary: 'Record that the user has proved more; the session gets a new token at once',
    tags: ['service'],
    security: SERVICE,
    params,
    body: stepUpBody,
    guard: serviceGuard(context, 'sessions:write'),
    responses: {
      ...CHANGED,
      200: { description: 'The session and its new token.', schema: sessionCreatedSchema },
      ...COMMON,
      ...TOO_WIDE,
    },
    handle: async ({ auth, body, params: { id } }) => {
      const raise = { aal: body.aal, amr: body.amr, authTime: body.auth_time };
      const change = await of(context, auth, id);
      await requireGrantableSession(context, auth, change.id);
      await refuseImpersonation(context, change.id);
      return privilegeChangeReply(context, await context.changes.stepUp(change, raise));
    },
  });

const upgrade = (context: HttpContext): Route =>
  route({
    method: 'post',
    path: '/v1/sessions/:id/upgrade',
    summary: "Turn a guest's session into that of a user who has signed in; label and data stay",
    description:
      'With an `Idempotency-Key` header the same request answers the same session and token for a day.',
    tags: ['service'],
    security: SERVICE,
    params,
    body: upgradeBody,
    guard: serviceGuard(context, 'sessions:write'),
    responses: {
      ...CHANGED,
      200: { description: 'The session and its new token.', schema: sessionCreatedSchema },
      ...COMMON,
      ...TOO_WIDE,
    },
    handle: async ({ auth, body, params: { id }, req }) => {
      const { time, aal, amr, idp, idp_sid, idp_sub } = body.auth;
      const request = {
        userId: body.user_id,
        remember: body.remember,
        aal,
        amr,
        authTime: time,
        idp: idp ?? null,
        idpSid: idp_sid ?? null,
        idpSub: idp_sub ?? null,
      };
      const idempotency = idempotencyOf(auth, req, { id, ...request });
      const change = await of(context, auth, id);
      await requireGrantableSession(context, auth, change.id);
      const result = await context.changes.upgrade(change, request, idempotency);
      return privilegeChangeReply(context, result);
    },
  });

const extend = (context: HttpContext): Route =>
  route({
    method: 'post',
    path: '/v1/sessions/:id/extend',
    summary: 'Count this moment as activity; the absolute expiry stays',
    tags: ['service'],
    security: SERVICE,
    params,
    guard: serviceGuard(context, 'sessions:write'),
    responses: { ...CHANGED, ...COMMON },
    handle: async ({ auth, params: { id } }) => {
      const change = await of(context, auth, id);
      await refuseImpersonation(context, change.id);
      const session = await context.sessions.extend(change.id);
      if (!session) throw new AppError('NOT_FOUND');
      if (session.endedAt !== null || session.expiresAt <= context.clock.now()) {
        throw changeErrorReply({ ok: false, why: 'ended', session });
      }
      return rewritten({ ok: true, session }, false);
    },
  });

/** An impersonation is never raised or prolonged: begin another one. */
const refuseImpersonation = async ({ sessions }: HttpContext, id: SessionId): Promise<void> => {
  if (!(await sessions.find(id))?.about.actor) return;
  throw new AppError('CONFLICT', { detail: 'An impersonated session is neither raised nor extended.' });
};

/** What a back end changes, if it may see it. */
const of = async (
  context: HttpContext,
  caller: ServiceCaller,
  id: string,
  rev?: number,
): Promise<ChangeOf> => {
  const known = parseSessionId(id);
  if (known === undefined) throw new AppError('NOT_FOUND');
  await requireVisible(context, caller, known);
  return { id: known, rev, actor: caller.actor };
};

const rewritten = (result: PatchResult, current: boolean, withData = true): RouteReply => {
  if (!result.ok) throw changeErrorReply(result);
  const { session } = result;
  return {
    status: 200,
    headers: { ETag: etagOf(session) },
    body: sessionDto(session, { current, withData }),
  };
};

/** The revision of `If-Match`; undefined takes any. Throws 428 where one is required, 412 for a tag of nobody. */
const ifMatch = (req: Request, isRequired: boolean): number | undefined => {
  const header = req.get('if-match');
  if (header === undefined) {
    if (isRequired)
      throw new AppError('IF_MATCH_REQUIRED', { detail: 'Send the ETag that you have seen, or *.' });
    return undefined;
  }
  if (header.trim() === '*') return undefined;
  const rev = /^"(\d{1,9})"$/.exec(header.trim())?.[1];
  if (rev === undefined) throw new AppError('REVISION_MISMATCH');
  return Number(rev);
};

/** A patch may fit where its result does not. */
const requireSize = (data: Readonly<Record<string, unknown>>): void => {
  if (Buffer.byteLength(JSON.stringify(data)) <= MAX_DATA_BYTES) return;
  throw new ValidationFailure([
    { loc: ['body', 'data'], msg: `Data may have at most ${MAX_DATA_BYTES} bytes`, type: 'value_error' },
  ]);
};
