import { useEffect } from 'preact/hooks';
import { Account } from './account.tsx';
import { connect } from './chat.ts';
import { ChatRoom } from './chat-room.tsx';
import { clearIdentity, identity, loadIdentity } from './identity.ts';
import { mayBeSignedIn } from './session-api.ts';

/** Restores the session of this tab after a reload. */
const restoreIdentity = async (): Promise<void> => {
  if (mayBeSignedIn()) await loadIdentity();
  else clearIdentity('');
  if (identity.value.is === 'signed-in') connect();
};

/** Chat to try the fleet: sign in, join a group, publish, sign out. */
export const Playground = () => {
  useEffect(() => {
    void restoreIdentity();
  }, []);
  return (
    <section class="playground" aria-labelledby="playground-title">
      <header class="playground-head">
        <h2 id="playground-title">Playground</h2>
        <p class="muted">
          Open this page in two tabs and chat across two gateways. Sign out in one tab: the other connection closes at
          once.
        </p>
      </header>
      <div class="playground-body">
        <Account />
        <ChatRoom />
      </div>
    </section>
  );
};
