import { connectTo, HOSTS_ADVICE, INVALID_TOKEN } from './synthetic-check-connection.ts';

/** What a listener hears. */
export interface GroupStreamEvents {
  /** The gateway has let us in. */
  readonly joined: (gateway: string) => void;
  /** `pub` is what a client gets: `data`, and where they are known `offset`, `info` and `tags`. */
  readonly published: (pub: unknown) => void;
  /** It is over, once; `why` is for people. Not called after disposing. */
  readonly ended: (why: string) => void;
}

/** A frame of the client protocol, as far as a listener looks into it. */
interface Frame {
  readonly id?: number;
  readonly error?: { readonly code: number; readonly message: string };
  readonly connect?: { readonly data?: { readonly gateway?: unknown } };
  readonly subscribe?: object;
  readonly push?: {
    readonly pub?: unknown;
    readonly unsubscribe?: { readonly code: number; readonly reason: string };
    readonly disconnect?: { readonly code: number; readonly reason: string };
  };
}

const JOIN_LIMIT_MS = 5_000;
const CONNECT = 1;
const SUBSCRIBE = 2;
const PONG = '{}';
/** Where to listen, as whom, and to what. */
export interface GroupStreamPlan {
  /** `host:port` of a gateway. */
  readonly address: string;
  readonly token: string;
  readonly group: string;
  /** The host at which sessions of the tenant count; undefined for a tenant without one. */
  readonly host: string | undefined;
}

/** Listens to a group as any client would, over one socket. Disposing closes it. */
export const openGroupStream = (
  { address, token, group, host }: GroupStreamPlan,
  events: GroupStreamEvents,
): Disposable => {
  const socket = connectTo(address, host);
  let isOver = false;
  const end = (why: string): void => {
    if (isOver) return;
    isOver = true;
    clearTimeout(patience);
    socket.close();
    events.ended(why);
  };
  const patience = setTimeout(() => end('the gateway did not let us in within five seconds'), JOIN_LIMIT_MS);
  let gateway = '';

  const take = (frame: Frame): void => {
    const { id, error, push } = frame;
    if (error) end(`the gateway refuses: ${error.message} (${error.code})`);
    else if (id === CONNECT) gateway = String(frame.connect?.data?.gateway ?? address);
    else if (id === SUBSCRIBE) {
      clearTimeout(patience);
      events.joined(gateway);
    } else if (push) takePush(push);
    // An empty frame asks whether we are still there.
    else if (id === undefined) socket.send(PONG);
  };
  const takePush = ({ pub, unsubscribe, disconnect }: NonNullable<Frame['push']>): void => {
    const over = unsubscribe ?? disconnect;
    if (pub !== undefined) events.published(pub);
    else if (over) end(`${over.reason} (${over.code})`);
  };
  socket.addEventListener('open', () => {
    socket.send(JSON.stringify({ id: CONNECT, connect: { token, name: 'muster-console-tail' } }));
    socket.send(JSON.stringify({ id: SUBSCRIBE, subscribe: { channel: group } }));
  });
  socket.addEventListener('message', ({ data }) => {
    for (const line of String(data).split('\n')) {
      if (line !== '' && !isOver) take(JSON.parse(line) as Frame);
    }
  });
  socket.addEventListener('error', () => end('the gateway cannot be reached'));
  socket.addEventListener('close', ({ code, reason }) => {
    const advice = code === INVALID_TOKEN ? `: ${HOSTS_ADVICE}` : '';
    end(`closed: ${reason || 'no reason'} (${code})${advice}`);
  });
  return {
    [Symbol.dispose]: () => {
      isOver = true;
      clearTimeout(patience);
      socket.close();
    },
  };
};
