import { keyReused } from '@muster/http/idempotency-key';
import type { RouteReply } from '@muster/http/route';
import { AppError } from '@muster/protocol/errors';
import type { RotateResult, UpgradeResult } from '../core/session-changes.ts';
import type { SessionRecord, Transport } from '../core/session-record.ts';
import type { OpenResult } from '../core/session-service.ts';
import type { HttpContext } from './context.ts';
import { etagOf, sessionDto } from './session-dto.ts';
import { cookieFor } from './session-guard.ts';

/** The response with a new token: in a cookie, or in the body, once. */
export const setSessionCookie = (
  context: HttpContext,
  { session, token }: { session: SessionRecord; token: string },
  { status, by, current }: { status: number; by: Transport; current: boolean },
): RouteReply => {
  const view = sessionDto(session, { current, withData: true });
  const headers = {
    ETag: etagOf(session),
    ...(status === 201 ? { Location: `/v1/sessions/${session.id}` } : {}),
  };
  if (by === 'bearer') return { status, headers, body: { ...view, token } };
  const cookie = cookieFor(context, { expiresAt: session.expiresAt, remember: session.about.remember }, token);
  return { status, headers: { ...headers, 'Set-Cookie': cookie }, body: view };
};

/** The response to a login: 201 with a cookie or a token. Throws 409 and 422 codes. */
export const sessionCreatedReply = (context: HttpContext, opened: OpenResult): RouteReply => {
  if (!opened.ok) throw openErrorReply(opened);
  const reply = setSessionCookie(context, opened, {
    status: 201,
    by: opened.session.transport,
    current: false,
  });
  return opened.isReplay ? asReplay(reply) : reply;
};

/** Marks the response to a repeated request. */
export const asReplay = (reply: RouteReply): RouteReply => ({
  ...reply,
  headers: { ...reply.headers, 'Idempotent-Replayed': 'true' },
});

/** The error of a login, or of an upgrade, that was refused. */
const openErrorReply = (refused: Extract<OpenResult, { ok: false }>): Error => {
  switch (refused.why) {
    case 'key_reused':
      return keyReused();
    case 'rotated':
      return new AppError('SESSION_ROTATED', {
        detail: 'The session of this Idempotency-Key has another token now, or has ended.',
      });
    case 'disabled':
      return new AppError('USER_DISABLED');
    default:
      return new AppError('SESSION_LIMIT', {
        detail: 'The user has reached the session limit. End a session first.',
        extra: {
          sessions: refused.sessions.map((session) => sessionDto(session, { current: false, withData: false })),
          ...sessionsUrlOf(refused.sessions[0]),
        },
      });
  }
};

/** The response to a step-up or upgrade. */
export const privilegeChangeReply = (context: HttpContext, result: RotateResult | UpgradeResult): RouteReply => {
  if (result.ok) {
    const reply = setSessionCookie(context, result, {
      status: 200,
      by: result.session.transport,
      current: false,
    });
    return 'isReplay' in result && result.isReplay ? asReplay(reply) : reply;
  }
  switch (result.why) {
    case 'disabled':
    case 'limit':
    case 'key_reused':
    case 'rotated':
      throw openErrorReply(result);
    case 'not_guest':
      throw new AppError('CONFLICT', { detail: 'This session belongs to a user.' });
    default:
      throw changeErrorReply(result);
  }
};

export const changeErrorReply = (refused: Extract<RotateResult, { ok: false }>): AppError => {
  switch (refused.why) {
    case 'missing':
      return new AppError('NOT_FOUND');
    case 'revision':
      return new AppError('REVISION_MISMATCH', { extra: { rev: refused.session.rev } });
    case 'ended':
      return new AppError('CONFLICT', {
        detail: 'This session has ended.',
        extra: { end_reason: refused.session.endReason ?? 'expired' },
      });
    default:
      return refused satisfies never;
  }
};

/** The path of the list of all sessions of the user. */
const sessionsUrlOf = (session: SessionRecord | undefined): { sessions_url?: string } =>
  session?.userId
    ? {
        sessions_url: `/v1/users/${encodeURIComponent(session.userId)}/sessions?tenant=${encodeURIComponent(session.tenant)}`,
      }
    : {};
