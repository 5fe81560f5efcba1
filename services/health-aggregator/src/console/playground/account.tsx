import { useSignal } from '@preact/signals';
import { shortAge } from '../format.ts';
import { connect, connectionState, disconnect } from './chat.ts';
import {
  clearIdentity,
  identity,
  isBusy,
  type PlaygroundSession,
  playgroundError,
  refreshSessions,
  sessions,
  signIn,
  signOut,
  signOutNotice,
} from './identity.ts';

const signInAndConnect = async (ownTab: boolean): Promise<void> => {
  await signIn(ownTab);
  if (identity.value.is === 'signed-in') connect();
};

/** Session of this tab, sign-in and sign-out. */
export const Account = () => {
  const me = identity.value;
  return (
    <section class="account" aria-labelledby="account-title">
      <h3 id="account-title">Your session</h3>
      {signOutNotice.value && (
        <p class="notice" role="alert" data-notice="signed-out">
          {signOutNotice.value}
        </p>
      )}
      {playgroundError.value && (
        <p class="notice is-error" role="alert">
          {playgroundError.value}
        </p>
      )}
      {me.is === 'loading' && <p class="muted">Loading the session…</p>}
      {me.is === 'signed-out' && <SignInForm />}
      {me.is === 'signed-in' && <SignedIn name={me.name} session={me.session} own={me.own} />}
    </section>
  );
};

const SignInForm = () => {
  const own = useSignal(false);
  return (
    <form
      onSubmit={(event) => {
        event.preventDefault();
        void signInAndConnect(own.value);
      }}
    >
      <p>Not signed in. A guest session needs no account.</p>
      <button type="submit" class="primary" disabled={isBusy.value}>
        {signOutNotice.value ? 'Get a new guest session' : 'Get a guest session'}
      </button>
      <label class="checkbox-field">
        <input
          type="checkbox"
          checked={own.value}
          onChange={(event) => {
            own.value = event.currentTarget.checked;
          }}
        />
        <span>
          Use a separate session in this tab
          <small>
            Tabs of one browser share a cookie: one session with two connections. With a separate session this tab is a
            device of its own.
          </small>
        </span>
      </label>
    </form>
  );
};

const SignedIn = ({ name, session, own }: { name: string; session: PlaygroundSession; own: boolean }) => (
  <>
    <p class="identity">
      <strong>{name}</strong>
      <span class="muted">
        {session.kind} · {own ? 'token of this tab' : 'cookie of this browser'}
      </span>
    </p>
    <p
      class="connection-status"
      data-gateway={connectionState.value.is === 'online' ? connectionState.value.gateway : ''}
    >
      <ConnectionStatus />
    </p>
    <Sessions current={session} />
    {!own && (
      <button type="button" class="link" disabled={isBusy.value} onClick={() => void signInAndConnect(true)}>
        Use a separate session in this tab
      </button>
    )}
  </>
);

const ConnectionStatus = () => {
  const now = connectionState.value;
  switch (now.is) {
    case 'online':
      return (
        <>
          Connected to <strong class="gateway">{now.gateway}</strong>
        </>
      );
    case 'connecting':
      return <>{now.why ? `Reconnecting: ${now.why}` : 'Connecting'}…</>;
    case 'refused':
      return (
        <>
          Not connected: {now.why}.{' '}
          <button type="button" class="link" onClick={connect}>
            Retry
          </button>
        </>
      );
    case 'off':
      return <>Not connected.</>;
    default:
      return now satisfies never;
  }
};

const Sessions = ({ current }: { current: PlaygroundSession }) => {
  const others = sessions.value.filter(({ id }) => id !== current.id);
  return (
    <div class="sessions">
      <h4>
        Your sessions
        <button type="button" class="link" onClick={() => void refreshSessions()}>
          Refresh
        </button>
      </h4>
      <ul>
        {[current, ...others].map((session) => (
          <li key={session.id}>
            <span>
              <code>{session.id.slice(0, 8)}</code>
              <span class="muted">
                {session.id === current.id ? 'this session' : (session.client?.summary ?? session.kind)}
                {session.created_at ? ` · ${shortAge(Date.now() - Date.parse(session.created_at))} old` : ''}
              </span>
            </span>
            <button type="button" disabled={isBusy.value} onClick={() => void signOutAndDisconnect(session)}>
              Sign out
            </button>
          </li>
        ))}
      </ul>
    </div>
  );
};

const GRACE_MS = 3_000;

/** Signs out. Without a close by a gateway within 3 s, because no connection was open, the page clears the session. */
const signOutAndDisconnect = async (session: PlaygroundSession): Promise<void> => {
  await signOut(session);
  setTimeout(() => {
    const me = identity.value;
    if (playgroundError.value || me.is !== 'signed-in' || me.session.id !== session.id) return;
    disconnect();
    clearIdentity('You signed out.');
  }, GRACE_MS);
};
