import type { Route, RouteReply } from '@muster/http/route';
import { ValidationFailure } from '@muster/http/validation';
import { AppError } from '@muster/protocol/errors';
import { parseSessionId, type SessionId } from '@muster/session/token';
import type { Request } from 'express';
import { z } from 'zod';
import type { ChangeOf } from '../core/ports.ts';
import type { PatchResult } from '../core/session-changes.ts';
import { serviceRoute, userRoute } from './authenticated-routes.ts';
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
import { requireGrantable, requireGrantableSession, requireVisible, type ServiceCaller } from './service-guard.ts';
import { etagOf, sessionDto } from './session-dto.ts';
import type { UserCaller } from './session-guard.ts';
import { changeErrorReply, privilegeChangeReply, setSessionCookie } from './session-response.ts';

const params = z.object({ id: sessionIdSchema });
const CHANGED = {
  200: { description: 'The session after the change.', schema: sessionSchema },
  404: { description: 'The session does not exist.' },
  409: { description: 'The session has ended.' },
  412: { description: 'The session has another revision.' },
  428: { description: 'A change of data requires If-Match.' },
};
const CHANGED_WITH_TOKEN = {
  ...CHANGED,
  200: { description: 'The session and its new token.', schema: sessionCreatedSchema },
};
const IF_MATCH = 'A change of `data` requires `If-Match` with the ETag of the session, or `*`.';

/** Routes that change a live session. */
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
  userRoute(context, {
    method: 'patch',
    path: '/v1/session',
    summary: 'Change label or data of this session (JSON merge patch)',
    description: IF_MATCH,
    body: patchOwnBody,
    responses: CHANGED,
    handle: async ({ auth, body, req }) => {
      const rev = ifMatch(req, body.data !== undefined);
      const of = { id: auth.snapshot.id, rev, actor: auth.actor };
      const patch = { label: body.label, data: body.data, grants: undefined };
      return patchReply(await context.changes.patch(of, patch, requireSize), true);
    },
  });

const patchMine = (context: HttpContext): Route =>
  userRoute(context, {
    method: 'patch',
    path: '/v1/me/sessions/:id',
    summary: 'Change the label of a session of this user',
    params,
    body: patchLabelBody,
    responses: CHANGED,
    handle: async ({ auth, body, params: { id } }) => {
      const own = auth.snapshot;
      const sessionId = parseSessionId(id);
      const found = sessionId && (await context.sessions.find(sessionId));
      if (!found || !belongsTo(found, own)) throw new AppError('NOT_FOUND');
      const of = { id: found.id, rev: undefined, actor: auth.actor };
      const patch = { label: body.label, data: undefined, grants: undefined };
      return patchReply(await context.changes.patch(of, patch, requireSize), found.id === own.id, false);
    },
  });

/** True if a session is the caller's own, or of the same user. */
export const belongsTo = (
  found: { id: SessionId; userId: string | null; tenant: string },
  own: UserCaller['snapshot'],
): boolean =>
  found.id === own.id || (own.userId !== null && found.userId === own.userId && found.tenant === own.tenant);

const rotateOwn = (context: HttpContext): Route =>
  userRoute(context, {
    method: 'post',
    path: '/v1/session/rotate',
    summary: 'Issue a new token; the previous token stays valid until the new token is used',
    responses: {
      200: {
        description: 'The session, with its new token if the client stores the token itself.',
        schema: sessionCreatedSchema,
      },
      409: { description: 'The session was rotated already. Use the newer token.' },
    },
    handle: async ({ auth }) => {
      const { id, secretHash } = auth.snapshot;
      // A previous secret in its grace period authenticates the request but cannot rotate: rotations must not fork.
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
  serviceRoute(context, 'sessions:write', {
    method: 'patch',
    path: '/v1/sessions/:id',
    summary: 'Change label, data (JSON merge patch) or grants of a session',
    description: IF_MATCH,
    params,
    body: patchSessionBody,
    responses: CHANGED,
    handle: async ({ auth, body, params: { id }, req }) => {
      requireGrantable(auth, body.grants);
      const rev = ifMatch(req, body.data !== undefined);
      const patch = { label: body.label, data: body.data, grants: body.grants, reason: body.reason };
      const change = await changeOf(context, auth, id, rev);
      return patchReply(await context.changes.patch(change, patch, requireSize), false);
    },
  });

const stepUp = (context: HttpContext): Route =>
  serviceRoute(context, 'sessions:write', {
    method: 'post',
    path: '/v1/sessions/:id/step-up',
    summary: 'Raise the level of assurance of a session, which gets a new token',
    params,
    body: stepUpBody,
    responses: CHANGED_WITH_TOKEN,
    handle: async ({ auth, body, params: { id } }) => {
      const raise = { aal: body.aal, amr: body.amr, authTime: body.auth_time };
      const change = await changeOf(context, auth, id);
      await requireGrantableSession(context, auth, change.id);
      await refuseImpersonation(context, change.id);
      return privilegeChangeReply(context, await context.changes.stepUp(change, raise));
    },
  });

const upgrade = (context: HttpContext): Route =>
  serviceRoute(context, 'sessions:write', {
    method: 'post',
    path: '/v1/sessions/:id/upgrade',
    summary: "Give a guest's session to a user who has signed in; label and data stay",
    description: 'With an `Idempotency-Key` header, repeats within 24 hours return the same session and token.',
    params,
    body: upgradeBody,
    responses: CHANGED_WITH_TOKEN,
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
      const change = await changeOf(context, auth, id);
      await requireGrantableSession(context, auth, change.id);
      return privilegeChangeReply(context, await context.changes.upgrade(change, request, idempotency));
    },
  });

const extend = (context: HttpContext): Route =>
  serviceRoute(context, 'sessions:write', {
    method: 'post',
    path: '/v1/sessions/:id/extend',
    summary: 'Record activity of a session now; the absolute expiry stays',
    params,
    responses: CHANGED,
    handle: async ({ auth, params: { id } }) => {
      const change = await changeOf(context, auth, id);
      await refuseImpersonation(context, change.id);
      const session = await context.sessions.extend(change.id);
      if (!session) throw new AppError('NOT_FOUND');
      if (session.endedAt !== null || session.expiresAt <= context.clock.now()) {
        throw changeErrorReply({ ok: false, why: 'ended', session });
      }
      return patchReply({ ok: true, session }, false);
    },
  });

const refuseImpersonation = async ({ sessions }: HttpContext, id: SessionId): Promise<void> => {
  if (!(await sessions.find(id))?.about.actor) return;
  throw new AppError('CONFLICT', {
    detail: 'An impersonated session cannot be raised or extended. Open another impersonation.',
  });
};

/** A change of a session that the caller may access. Throws `NOT_FOUND`. */
const changeOf = async (context: HttpContext, caller: ServiceCaller, text: string, rev?: number): Promise<ChangeOf> => {
  const id = parseSessionId(text);
  if (id === undefined) throw new AppError('NOT_FOUND');
  await requireVisible(context, caller, id);
  return { id, rev, actor: caller.actor };
};

const patchReply = (result: PatchResult, current: boolean, withData = true): RouteReply => {
  if (!result.ok) throw changeErrorReply(result);
  const { session } = result;
  return {
    status: 200,
    headers: { ETag: etagOf(session) },
    body: sessionDto(session, { current, withData }),
  };
};

/** The revision of `If-Match`; undefined accepts any. Throws 428 where it is required, 412 for an invalid entity tag. */
const ifMatch = (req: Request, isRequired: boolean): number | undefined => {
  const header = req.get('if-match');
  if (header === undefined) {
    if (isRequired) {
      throw new AppError('IF_MATCH_REQUIRED', {
        detail: 'Send If-Match with the ETag of the session, or *.',
      });
    }
    return undefined;
  }
  if (header.trim() === '*') return undefined;
  const rev = /^"(\d{1,9})"$/.exec(header.trim())?.[1];
  if (rev === undefined) throw new AppError('REVISION_MISMATCH');
  return Number(rev);
};

/** The merged data may exceed the bounds that the patch respects. */
const requireSize = (data: Readonly<Record<string, unknown>>): void => {
  if (Buffer.byteLength(JSON.stringify(data)) <= MAX_DATA_BYTES) return;
  throw new ValidationFailure([
    { loc: ['body', 'data'], msg: `Data may have at most ${MAX_DATA_BYTES} bytes`, type: 'value_error' },
  ]);
};
