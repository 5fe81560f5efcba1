import type { Reply } from '@muster/http/route';
import { AppError } from '@muster/protocol/errors';
import type { Opened } from '../core/sessions.ts';
import type { HttpContext } from './context.ts';
import { cookieFor } from './guards.ts';
import { viewSession } from './view.ts';

/** The answer to a login: 201 with a cookie or a token, or 409. */
export const openedReply = (context: HttpContext, opened: Opened): Reply => {
  if (!opened.ok) throw refusalOf(opened);
  const { session, token } = opened;
  const view = viewSession(session, { current: false, withData: true });
  const headers = { Location: `/v1/sessions/${session.id}` };
  if (session.transport === 'bearer') return { status: 201, headers, body: { ...view, token } };
  const cookie = cookieFor(
    context,
    { expiresAt: session.expiresAt, remember: session.about.remember },
    token,
  );
  return { status: 201, headers: { ...headers, 'Set-Cookie': cookie }, body: view };
};

const refusalOf = (opened: Extract<Opened, { ok: false }>): AppError =>
  opened.why === 'disabled'
    ? new AppError('USER_DISABLED')
    : new AppError('SESSION_LIMIT', {
        detail: 'This user has as many sessions as allowed. End one of them first.',
        extra: {
          sessions: opened.sessions.map((one) => viewSession(one, { current: false, withData: false })),
        },
      });
