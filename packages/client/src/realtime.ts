import { Centrifuge, type Options } from 'centrifuge';
import { withoutLocalStorage } from './quiet-globals.ts';

/** What a gateway says of itself and of the session when a client connects. */
export interface Welcome {
  /** Name of the replica. */
  readonly gateway: string;
  /** User of the session; empty for an anonymous client. */
  readonly user: string;
  /** Id of the session. */
  readonly session: string;
}

/** How to connect. */
export interface RealtimeOptions {
  /** Origin of the load balancer, such as `https://app.example.com`. */
  readonly baseUrl: string;
  /** Session token; absent in a browser, where the session cookie signs the socket in. */
  readonly token?: string;
  /** Called when the session was ended elsewhere: this client is signed out and does not reconnect. */
  readonly onSignedOut?: (reason: string) => void;
  /** Further options of the SDK, such as `websocket` in Node. */
  readonly sdk?: Partial<Options>;
}

/** Close codes from here on are final: the session has ended, or may not do what it wants. */
const FIRST_FINAL_CODE = 4_500;

/**
 * The `centrifuge` SDK, set up for Muster: reconnecting, recovering missed publications, and telling when the
 * session was ended. Call `connect()` on what comes back, and `newSubscription(group)` for each group.
 */
export const createRealtime = (options: RealtimeOptions): Centrifuge => {
  const url = `${options.baseUrl.replace(/^http/, 'ws')}/connection/websocket`;
  const token = options.token === undefined ? {} : { token: options.token };
  const client = withoutLocalStorage(() => new Centrifuge(url, { ...token, ...options.sdk }));
  client.on('disconnected', ({ code, reason }) => {
    if (code >= FIRST_FINAL_CODE) options.onSignedOut?.(reason);
  });
  return client;
};
