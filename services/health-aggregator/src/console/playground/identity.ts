import { signal } from '@preact/signals';
import { nickname } from '../format.ts';
import { call, type PlaygroundResponse, rememberCookie, tabToken } from './session-api.ts';

/** A session as the session service tells it; only what the page shows. */
export interface PlaygroundSession {
  readonly id: string;
  readonly kind: string;
  readonly label?: string | null;
  readonly current?: boolean;
  readonly created_at?: string;
  readonly last_seen_at?: string;
  readonly client?: { readonly summary?: string } | null;
}

/** Who this tab is. */
export type PlaygroundIdentity =
  | { readonly is: 'asking' }
  | { readonly is: 'nobody' }
  | {
      readonly is: 'somebody';
      readonly session: PlaygroundSession;
      readonly own: boolean;
      readonly name: string;
    };

export const identity = signal<PlaygroundIdentity>({ is: 'asking' });
export const sessions = signal<readonly PlaygroundSession[]>([]);
/** A sentence about the last thing that went wrong, or nothing. */
export const playgroundError = signal('');
/** Why the session is over, if it ended under our feet. */
export const signOutNotice = signal('');
export const isBusy = signal(false);

const setSignedIn = (session: PlaygroundSession): void => {
  identity.value = {
    is: 'somebody',
    session,
    own: tabToken.read() !== undefined,
    name: nickname(session.id),
  };
};

const clearCredentials = (): void => {
  if (tabToken.read() === undefined) rememberCookie(false);
  tabToken.forget();
};

/** Forgets who this tab was. The text says why, for the reader. */
export const clearIdentity = (why: string): void => {
  clearCredentials();
  identity.value = { is: 'nobody' };
  sessions.value = [];
  signOutNotice.value = why;
};

/** Asks who this tab is. Answers false only when the service says clearly that there is no session. */
export const loadIdentity = async (): Promise<boolean> => {
  const answer = await call<PlaygroundSession>('GET', '/v1/session');
  if (answer.ok) {
    playgroundError.value = '';
    setSignedIn(answer.data);
    await refreshSessions();
    return true;
  }
  if (answer.status === 401) {
    clearCredentials();
    identity.value = { is: 'nobody' };
    return false;
  }
  playgroundError.value = answer.text;
  if (identity.value.is === 'asking') identity.value = { is: 'nobody' };
  return true;
};

/** Gets a guest session: for the whole browser by cookie, or for this tab alone by token. */
export const signIn = async (ownTab: boolean): Promise<void> => {
  isBusy.value = true;
  if (ownTab) tabToken.forget();
  const answer: PlaygroundResponse<PlaygroundSession & { token?: string }> = await call(
    'POST',
    '/v1/guest-sessions',
    {
      transport: ownTab ? 'bearer' : 'cookie',
    },
  );
  isBusy.value = false;
  playgroundError.value = answer.ok ? '' : answer.text;
  if (!answer.ok) return;
  if (ownTab && answer.data.token) tabToken.keep(answer.data.token);
  if (!ownTab) rememberCookie(true);
  signOutNotice.value = '';
  setSignedIn(answer.data);
  await refreshSessions();
};

/** Reads the list of this person's sessions. */
export const refreshSessions = async (): Promise<void> => {
  const answer = await call<{ items: readonly PlaygroundSession[] }>('GET', '/v1/me/sessions');
  if (answer.ok) sessions.value = answer.data.items;
};

/** Ends a session. The page then waits for the gateway to close the socket, as any client would. */
export const signOut = async (session: PlaygroundSession): Promise<void> => {
  isBusy.value = true;
  const isOwn = identity.value.is === 'somebody' && identity.value.session.id === session.id;
  const answer = await call('DELETE', isOwn ? '/v1/session' : `/v1/me/sessions/${session.id}`);
  isBusy.value = false;
  playgroundError.value = answer.ok || answer.status === 401 ? '' : answer.text;
  if (answer.ok && !isOwn) await refreshSessions();
};
