import { useEffect } from 'preact/hooks';
import { Account } from './account.tsx';
import { connect } from './chat.ts';
import { ChatRoom } from './chat-room.tsx';
import { clearIdentity, identity, loadIdentity } from './identity.ts';
import { mayBeSignedIn } from './session-api.ts';

/** Goes on as whoever this tab was before a reload. */
const restoreIdentity = async (): Promise<void> => {
  if (mayBeSignedIn()) await loadIdentity();
  else clearIdentity('');
  if (identity.value.is === 'somebody') connect();
};

/** A small chat for newcomers: sign in, join, talk, sign out, and see what the fleet does. */
export const Playground = () => {
  useEffect(() => {
    void restoreIdentity();
  }, []);
  return (
    <section class="try" aria-labelledby="try-title">
      <header class="try-head">
        <h2 id="try-title">Try it</h2>
        <p class="quiet">
          Open this page in two tabs and talk across two gateways. Sign out in one and watch the other being
          closed at once.
        </p>
      </header>
      <div class="try-body">
        <Account />
        <ChatRoom />
      </div>
    </section>
  );
};
