import WebSocket from 'ws';

/** A client that connects again whenever it is cut or closed, until its session is refused several times in a row. */
export interface ReconnectingClient {
  readonly session: string;
  /** Times on the clock of this process; 0: never. */
  readonly acceptedAt: number;
  readonly closedAt: number;
  /** Close code of the last connection that the gateway closed. */
  readonly code: number;
  readonly isOpen: boolean;
  /** Attempts refused since the last accepted attempt. */
  readonly refusals: number;
  /** Cuts the connection; the client reconnects after a pause. */
  cut(): void;
  stop(): void;
}

/** Attempts after which a refused client gives up. */
export const MAX_REFUSALS = 3;

export interface ReconnectingClientOptions {
  readonly url: string;
  readonly session: string;
  readonly token: string;
  /** Pause before the next attempt, in ms. */
  pauseMs(): number;
}

export const startReconnectingClient = ({
  url,
  session,
  token,
  pauseMs,
}: ReconnectingClientOptions): ReconnectingClient => {
  const client = { session, acceptedAt: 0, closedAt: 0, code: 0, isOpen: false, refusals: 0 };
  let socket: WebSocket | undefined;
  let timer: NodeJS.Timeout | undefined;
  let isStopped = false;

  const open = (): void => {
    const own = new WebSocket(`${url.replace(/^http/, 'ws')}/connection/websocket`);
    socket = own;
    let isAccepted = false;
    own.on('error', () => {});
    own.on('open', () => own.send(`{"id":1,"connect":{"token":"${token}"}}`));
    own.on('message', (data) => {
      const text = data.toString();
      if (text === '{}') own.send('{}');
      if (!text.includes('"connect"')) return;
      isAccepted = true;
      client.isOpen = true;
      client.refusals = 0;
      client.acceptedAt = performance.now();
    });
    own.on('close', (code) => {
      client.isOpen = false;
      if (code === 4501 || code === 3500) {
        client.code = code;
        if (isAccepted) client.closedAt = performance.now();
        else client.refusals += 1;
      }
      if (!isStopped && client.refusals < MAX_REFUSALS) timer = setTimeout(open, pauseMs());
    });
  };
  open();
  return Object.assign(client, {
    cut: () => socket?.terminate(),
    stop: () => {
      isStopped = true;
      clearTimeout(timer);
      socket?.terminate();
    },
  });
};
