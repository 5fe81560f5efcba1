import { Centrifuge, type Options } from 'centrifuge';
import { type Move, movableSocketClass, type SocketClass } from './movable-socket.ts';
import { withoutLocalStorage } from './quiet-globals.ts';

/** Data of a connect result. */
export interface Welcome {
  /** Name of the replica. */
  readonly gateway: string;
  /** User of the session; empty for an anonymous client. */
  readonly user: string;
  /** Id of the session. */
  readonly session: string;
}

/** Options of the realtime client. */
export interface RealtimeOptions {
  /** Origin of the load balancer, such as `https://app.example.com`. */
  readonly baseUrl: string;
  /** Session token; absent in a browser, which sends the session cookie. */
  readonly token?: string;
  /** Called after the end of the session: the client does not reconnect. */
  readonly onSignedOut?: (reason: string) => void;
  /**
   * Called after the client has moved to another gateway, for example because its gateway drains. The SDK emits no event:
   * subscriptions and their publications continue, and only the id of the client has changed.
   */
  readonly onMoved?: (move: Move) => void;
  /** Further options of the SDK, such as `websocket` in Node. */
  readonly sdk?: Partial<Options>;
}

/** First final close code: the session has ended or is not allowed to connect. */
const FIRST_FINAL_CODE = 4_500;

/**
 * Configures the `centrifuge` SDK for Muster: it reconnects, recovers missed publications, moves between gateways without
 * a gap, and reports the end of the session. Call `connect()` on the client, and `newSubscription(group)` for each group.
 */
export const createRealtime = (options: RealtimeOptions): Centrifuge => {
  const Socket: SocketClass | undefined = options.sdk?.websocket ?? globalThis.WebSocket;
  const url = `${options.baseUrl.replace(/^http/, 'ws')}/connection/websocket${Socket === undefined ? '' : '?moves=true'}`;
  const token = options.token === undefined ? {} : { token: options.token };
  const onMoved = (move: Move): void => options.onMoved?.(move);
  const websocket = Socket === undefined ? {} : { websocket: movableSocketClass(Socket, onMoved) };
  const client = withoutLocalStorage(() => new Centrifuge(url, { ...token, ...options.sdk, ...websocket }));
  client.on('disconnected', ({ code, reason }) => {
    if (code >= FIRST_FINAL_CODE) options.onSignedOut?.(reason);
  });
  return client;
};
