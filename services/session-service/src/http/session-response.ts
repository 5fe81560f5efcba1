import { keyReused } from '@muster/http/idempotency-key';
import type { RouteReply } from '@muster/http/route';
import { AppError } from '@muster/protocol/errors';
import type { SessionRecord, Transport } from '../core/session.ts';
import type { RotateResult, UpgradeResult } from '../core/session-changes.ts';
import type { OpenResult } from '../core/sessions.ts';
import type { HttpContext } from './context.ts';
import { etagOf, sessionDto } from './session-dto.ts';
import { cookieFor } from './session-guard.ts';

/** Hands a token to its client: in a cookie, or in the body, once. */
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
  const cookie = cookieFor(
    context,
    { expiresAt: session.expiresAt, remember: session.about.remember },
    token,
  );
  return { status, headers: { ...headers, 'Set-Cookie': cookie }, body: view };
};

/** The answer to a login: 201 with a cookie or a token, or 409. */
export const sessionCreatedReply = (context: HttpContext, opened: OpenResult): RouteReply => {
  if (!opened.ok) throw openRefusal(opened);
  const reply = setSessionCookie(context, opened, {
    status: 201,
    by: opened.session.transport,
    current: false,
  });
  return opened.isReplay ? asReplay(reply) : reply;
};

/** Says that a request with this key was answered before. */
export const asReplay = (reply: RouteReply): RouteReply => ({
  ...reply,
  headers: { ...reply.headers, 'Idempotent-Replayed': 'true' },
});

const openRefusal = (opened: Extract<OpenResult, { ok: false }>): Error => {
  switch (opened.why) {
    case 'key_reused':
    case 'rotated':
      return replayRefusal(opened.why);
    default:
      return loginRefusal(opened);
  }
};

const replayRefusal = (why: 'key_reused' | 'rotated'): Error =>
  why === 'key_reused'
    ? keyReused()
    : new AppError('SESSION_ROTATED', {
        detail: 'The session of this key has another token now, or is over.',
      });

/** The answer to a raise of privileges that a back end asked for. */
export const privilegeChangeReply = (
  context: HttpContext,
  result: RotateResult | UpgradeResult,
): RouteReply => {
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
      throw loginRefusal(result);
    case 'key_reused':
    case 'rotated':
      throw replayRefusal(result.why);
    case 'not_guest':
      throw new AppError('CONFLICT', { detail: 'This session belongs to a user already.' });
    default:
      throw changeErrorReply(result);
  }
};

/** Why a change of a session by its id was not made. */
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

/** Where a back end finds all sessions of the user, page by page. */
const allSessionsOf = (one: SessionRecord | undefined): { sessions_url?: string } =>
  one?.userId
    ? {
        sessions_url: `/v1/users/${encodeURIComponent(one.userId)}/sessions?tenant=${encodeURIComponent(one.tenant)}`,
      }
    : {};

type LoginRefused =
  | { readonly why: 'disabled' }
  | { readonly why: 'limit'; readonly sessions: readonly SessionRecord[] };

const loginRefusal = (refused: LoginRefused): AppError =>
  refused.why === 'disabled'
    ? new AppError('USER_DISABLED')
    : new AppError('SESSION_LIMIT', {
        detail: 'This user has as many sessions as allowed. End one of them first.',
        extra: {
          sessions: refused.sessions.map((one) => sessionDto(one, { current: false, withData: false })),
          ...allSessionsOf(refused.sessions[0]),
        },
      });
