import { signal } from '@preact/signals';
import { nickname } from '../format.ts';
import { type PlaygroundResponse, rememberCookie, requestSession, tabToken } from './session-api.ts';

/** The part of a session response that the page shows. */
export interface PlaygroundSession {
  readonly id: string;
  readonly kind: string;
  readonly label?: string | null;
  readonly current?: boolean;
  readonly created_at?: string;
  readonly last_seen_at?: string;
  readonly client?: { readonly summary?: string } | null;
}

/** Identity of this tab. */
export type PlaygroundIdentity =
  | { readonly is: 'loading' }
  | { readonly is: 'signed-out' }
  | {
      readonly is: 'signed-in';
      readonly session: PlaygroundSession;
      readonly own: boolean;
      readonly name: string;
    };

export const identity = signal<PlaygroundIdentity>({ is: 'loading' });
export const sessions = signal<readonly PlaygroundSession[]>([]);
/** Last error, one sentence; empty without an error. */
export const playgroundError = signal('');
/** Reason of the end of the session, when the user did not end it here. */
export const signOutNotice = signal('');
export const isBusy = signal(false);

const setSignedIn = (session: PlaygroundSession): void => {
  identity.value = {
    is: 'signed-in',
    session,
    own: tabToken.read() !== undefined,
    name: nickname(session.id),
  };
};

const clearCredentials = (): void => {
  if (tabToken.read() === undefined) rememberCookie(false);
  tabToken.forget();
};

/** Clears the identity of this tab and shows the reason. */
export const clearIdentity = (why: string): void => {
  clearCredentials();
  identity.value = { is: 'signed-out' };
  sessions.value = [];
  signOutNotice.value = why;
};

/** Loads the session of this tab. Resolves with false only when the service confirms that none exists. */
export const loadIdentity = async (): Promise<boolean> => {
  const answer = await requestSession<PlaygroundSession>('GET', '/v1/session');
  if (answer.ok) {
    playgroundError.value = '';
    setSignedIn(answer.data);
    await refreshSessions();
    return true;
  }
  if (answer.status === 401) {
    clearCredentials();
    identity.value = { is: 'signed-out' };
    return false;
  }
  playgroundError.value = answer.text;
  if (identity.value.is === 'loading') identity.value = { is: 'signed-out' };
  return true;
};

/** Creates a guest session: for the browser by cookie, or for this tab alone by token. */
export const signIn = async (ownTab: boolean): Promise<void> => {
  isBusy.value = true;
  if (ownTab) tabToken.forget();
  const answer: PlaygroundResponse<PlaygroundSession & { token?: string }> = await requestSession(
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

/** Loads the sessions of the user. */
export const refreshSessions = async (): Promise<void> => {
  const answer = await requestSession<{ items: readonly PlaygroundSession[] }>('GET', '/v1/me/sessions');
  if (answer.ok) sessions.value = answer.data.items;
};

/** Ends a session. The gateway then closes the connection, as for any client. */
export const signOut = async (session: PlaygroundSession): Promise<void> => {
  isBusy.value = true;
  const isOwn = identity.value.is === 'signed-in' && identity.value.session.id === session.id;
  const answer = await requestSession('DELETE', isOwn ? '/v1/session' : `/v1/me/sessions/${session.id}`);
  isBusy.value = false;
  playgroundError.value = answer.ok || answer.status === 401 ? '' : answer.text;
  if (answer.ok && !isOwn) await refreshSessions();
};
