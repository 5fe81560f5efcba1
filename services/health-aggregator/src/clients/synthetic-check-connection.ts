import { WebSocket } from 'ws';

/** Close code of a session that is not valid at the host of the request. */
const INVALID_TOKEN = 3500;
const HOSTS_ADVICE = 'if the tenant has a host, set TENANT_HOSTS of this aggregator as in the gateways';

/** A reply or push of the client protocol. */
interface Frame {
  readonly id?: number;
  readonly error?: { readonly code: number; readonly message: string };
  readonly push?: { readonly channel?: string; readonly pub?: { readonly data?: unknown } };
}

/** A connection to one gateway with the JSON client protocol. */
export type GatewayConnection = Awaited<ReturnType<typeof openGatewayConnection>>;

/**
 * Connects to a gateway by its own address, not through the load balancer. `host` is a host of the tenant of the session; undefined
 * for a tenant without hosts. Rejects when the signal aborts. Disposing closes the connection.
 */
export const openGatewayConnection = async (
  { address, host }: { readonly address: string; readonly host: string | undefined },
  signal: AbortSignal,
) => {
  const headers = host === undefined ? {} : { headers: { host } };
  const socket = new WebSocket(`ws://${address}/connection/websocket`, headers);
  const frames: Frame[] = [];
  const waiting = new Set<() => void>();
  const failed = Promise.withResolvers<never>();
  // Without this a failure between two calls is an unhandled rejection.
  failed.promise.catch(() => {});
  const abort = (): void => failed.reject(new Error('timeout'));
  signal.addEventListener('abort', abort);
  socket.addEventListener('close', ({ code, reason }) =>
    failed.reject(new Error(`closed: ${code} ${reason}${code === INVALID_TOKEN ? `; ${HOSTS_ADVICE}` : ''}`)),
  );
  socket.addEventListener('error', () => failed.reject(new Error('no connection')));
  socket.addEventListener('message', ({ data }) => {
    for (const line of String(data).split('\n')) {
      if (line !== '') frames.push(JSON.parse(line) as Frame);
    }
    for (const check of waiting) check();
  });
  const nextFrame = (matches: (frame: Frame) => boolean): Promise<Frame> => {
    const found = Promise.withResolvers<Frame>();
    const check = (): void => {
      const match = frames.find(matches);
      if (match) found.resolve(match);
    };
    waiting.add(check);
    check();
    return Promise.race([found.promise, failed.promise]).finally(() => waiting.delete(check));
  };
  const opened = new Promise<void>((resolve) => socket.addEventListener('open', () => resolve()));
  await Promise.race([opened, failed.promise]);
  let serial = 0;
  return {
    /** Sends a command and waits for its reply. Rejects for an error reply, or when the signal aborts. */
    request: async (command: Readonly<Record<string, unknown>>): Promise<void> => {
      serial += 1;
      const id = serial;
      socket.send(JSON.stringify({ id, ...command }));
      const { error } = await nextFrame((reply) => reply.id === id);
      if (error) throw new Error(`${error.code} ${error.message}`);
    },
    /** Resolves with the first publication that matches, also one received before the call. */
    receive: async (matches: (data: unknown) => boolean): Promise<void> => {
      await nextFrame(({ push }) => push?.pub !== undefined && matches(push.pub.data));
    },
    [Symbol.dispose]: (): void => {
      signal.removeEventListener('abort', abort);
      socket.close();
    },
  };
};
