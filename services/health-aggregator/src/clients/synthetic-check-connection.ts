import { WebSocket } from 'ws';

/** Close code of a session that is not valid at the host of the request. */
const INVALID_TOKEN = 3500;
const HOSTS_ADVICE =
  'if the tenant has a host of its own, TENANT_HOSTS of this aggregator must name it, as that of the gateways does';

/** A reply or push of the client protocol, as far as a journey looks into it. */
interface Frame {
  readonly id?: number;
  readonly error?: { readonly code: number; readonly message: string };
  readonly push?: { readonly channel?: string; readonly pub?: { readonly data?: unknown } };
}

/** One WebSocket to one gateway, speaking the JSON client protocol. Disposing closes it. */
export interface GatewayConnection extends Disposable {
  /** Sends a command and waits for its reply. Rejects when it is an error, or when the signal aborts. */
  ask(command: Readonly<Record<string, unknown>>): Promise<void>;
  /** Resolves with the first publication that fits, also one that came before the call. */
  published(fits: (data: unknown) => boolean): Promise<void>;
}

/** Connects to a gateway by its own address, around the load balancer. Rejects when the signal aborts. */
export const openGatewayConnection = async (
  { address, host }: { readonly address: string; readonly host: string | undefined },
  signal: AbortSignal,
): Promise<GatewayConnection> => {
  const headers = host === undefined ? {} : { headers: { host } };
  const socket = new WebSocket(`ws://${address}/connection/websocket`, headers);
  const frames: Frame[] = [];
  const waiting = new Set<() => void>();
  const failed = Promise.withResolvers<never>();
  // Nobody may be waiting just then.
  failed.promise.catch(() => {});
  const abort = (): void => failed.reject(new Error('the time is up'));
  signal.addEventListener('abort', abort);
  socket.addEventListener('close', ({ code, reason }) =>
    failed.reject(new Error(`closed: ${code} ${reason}${code === INVALID_TOKEN ? `; ${HOSTS_ADVICE}` : ''}`)),
  );
  socket.addEventListener('error', () => failed.reject(new Error('no connection')));
  socket.addEventListener('message', ({ data }) => {
    for (const line of String(data).split('\n')) {
      if (line !== '') frames.push(JSON.parse(line) as Frame);
    }
    for (const look of waiting) look();
  });
  const frame = (fits: (one: Frame) => boolean): Promise<Frame> => {
    const found = Promise.withResolvers<Frame>();
    const look = (): void => {
      const one = frames.find(fits);
      if (one) found.resolve(one);
    };
    waiting.add(look);
    look();
    return Promise.race([found.promise, failed.promise]).finally(() => waiting.delete(look));
  };
  const opened = new Promise<void>((resolve) => socket.addEventListener('open', () => resolve()));
  await Promise.race([opened, failed.promise]);
  let serial = 0;
  return {
    ask: async (command) => {
      serial += 1;
      const id = serial;
      socket.send(JSON.stringify({ id, ...command }));
      const { error } = await frame((one) => one.id === id);
      if (error) throw new Error(`${error.code} ${error.message}`);
    },
    published: async (fits) => {
      await frame(({ push }) => push?.pub !== undefined && fits(push.pub.data));
    },
    [Symbol.dispose]: () => {
      signal.removeEventListener('abort', abort);
      socket.close();
    },
  };
};
