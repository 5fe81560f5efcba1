import { once } from 'node:events';
import { createServer, type RequestListener, type Server } from 'node:http';
import { type AddressInfo, type Socket, Server as TcpServer } from 'node:net';
import { after, every } from '@muster/kit/clock';
import { AppError, type ErrorCode } from '@muster/protocol/errors';
import { v4 } from 'uuid';
import { toProblem } from './problem.ts';

const IDLE_SWEEP_MS = 50;
const CLOSE_GRACE_MS = 5_000;
const HEADERS_TIMEOUT_MS = 5_000;
const REQUEST_TIMEOUT_MS = 10_000;
const CHECK_MS = 1_000;
/** Longest wait for the accept queue to be empty. */
const ACCEPT_QUEUE_MS = 1_000;
/** Time for a refused client to read the answer before its connection is closed. */
const LINGER_MS = 1_000;

/** A listening HTTP server. Disposing it stops accepting and waits for requests in flight. */
export interface Listening extends AsyncDisposable {
  readonly server: Server;
  readonly port: number;
  /**
   * Every later response closes its connection, so that its client opens the next connection at another replica. With `reusePort` the
   * port is closed as well: the kernel then gives new connections to the other processes.
   */
  drain(): Promise<void>;
  /** Reverts {@link Listening.drain}. Rejects when the port is taken. */
  resume(): Promise<void>;
}

export interface ListenOptions {
  readonly host: string;
  readonly port: number;
  readonly requestTimeoutMs?: number;
  /** Shares the port with other processes of the same user; the kernel distributes connections (SO_REUSEPORT). */
  readonly reusePort?: boolean;
}

/**
 * Listen backlog, capped by the kernel (`net.core.somaxconn`). Thousands of clients that reconnect at once must not wait for a TCP
 * handshake to be repeated.
 */
const BACKLOG = 4_096;

/** Listens; rejects when the port is taken. Limits: headers within 5 s and 16 KiB, the whole request within 10 s. */
export const listen = async (app: RequestListener, options: ListenOptions): Promise<Listening> => {
  let isDraining = false;
  const server = createHttpServer(options, (request, response) => {
    // Set before the headers: a client that reuses the connection would race against its end.
    if (isDraining) response.shouldKeepAlive = false;
    app(request, response);
  });
  const { host, reusePort = false } = options;
  const open = async (port: number): Promise<number> => {
    server.listen({ port, host, reusePort, backlog: BACKLOG });
    await once(server, 'listening');
    return (server.address() as AddressInfo).port;
  };
  const port = await open(options.port);
  let closing: Promise<void> | undefined;
  return {
    server,
    port,
    drain: async () => {
      isDraining = true;
      if (!reusePort || !server.listening) return;
      await untilQueueIsEmpty(server);
      // Of the TCP server: that of the HTTP server would cut idle connections, whose next request deserves a response.
      if (isDraining && server.listening) TcpServer.prototype.close.call(server);
    },
    resume: async () => {
      isDraining = false;
      if (!server.listening) await open(port);
    },
    [Symbol.asyncDispose]: () => {
      isDraining = true;
      closing ??= closeServer(server);
      return closing;
    },
  };
};

const createHttpServer = ({ requestTimeoutMs = REQUEST_TIMEOUT_MS }: ListenOptions, app: RequestListener): Server => {
  const server = createServer(
    {
      headersTimeout: Math.min(HEADERS_TIMEOUT_MS, requestTimeoutMs),
      requestTimeout: requestTimeoutMs,
      // Node checks every 30 s by default, which would turn the limit of 10 s into 40 s.
      connectionsCheckingInterval: Math.min(CHECK_MS, requestTimeoutMs / 4),
      maxHeaderSize: 16_384,
    },
    app,
  );
  // Longer than the idle timeout of load balancers, so that they close idle connections first.
  server.keepAliveTimeout = 65_000;
  server.on('clientError', (error: NodeJS.ErrnoException, socket) => refuseConnection(error, socket as Socket));
  return server;
};

/** Closes connections as they become idle, and all others after the grace period. */
const closeServer = async (server: Server): Promise<void> => {
  await untilQueueIsEmpty(server);
  const closed = new Promise((resolve) => server.close(resolve));
  // After a poll: a request that has arrived makes its connection busy, and is answered instead of reset.
  const stopSweep = every(IDLE_SWEEP_MS, () => setImmediate(() => server.closeIdleConnections()));
  const stopGrace = after(CLOSE_GRACE_MS, () => server.closeAllConnections());
  await closed;
  stopSweep();
  stopGrace();
};

/**
 * Resolves after a turn of the event loop that accepted no connection, at most a second later. The kernel resets the connections that
 * wait in the queue of a port that is closed. libuv accepts one connection per turn, so one turn is not enough.
 */
const untilQueueIsEmpty = async (server: Server): Promise<void> => {
  const giveUpAt = performance.now() + ACCEPT_QUEUE_MS;
  let hasAccepted = true;
  const onConnection = (): void => {
    hasAccepted = true;
  };
  server.on('connection', onConnection);
  // The first turn may have polled before this call.
  await endOfTurn();
  while (hasAccepted && performance.now() < giveUpAt) {
    hasAccepted = false;
    await endOfTurn();
  }
  server.off('connection', onConnection);
};

/** Resolves directly after the event loop has polled for connections and data. */
const endOfTurn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

const PARSER_CODES: Readonly<Record<string, readonly [ErrorCode, number]>> = {
  HPE_HEADER_OVERFLOW: ['PAYLOAD_TOO_LARGE', 431],
  ERR_HTTP_REQUEST_TIMEOUT: ['REQUEST_TIMEOUT', 408],
};

/** A request that the HTTP parser rejects has no response object: it is answered on the socket. */
const refuseConnection = (error: NodeJS.ErrnoException, socket: Socket): void => {
  if (error.code === 'ECONNRESET' || !socket.writable) return void socket.destroy();
  const [code, status] = PARSER_CODES[error.code ?? ''] ?? ['MALFORMED_REQUEST', 400];
  socket.end(rawProblem(new AppError(code), status));
  const stop = after(LINGER_MS, () => socket.destroy());
  socket.once('close', stop);
};

/** A complete HTTP/1.1 response with a problem body, for sockets without a response object (refused upgrades). */
export const rawProblem = (error: AppError, status?: number, requestId: string = v4()): string => {
  const problem = toProblem(error, requestId);
  const headers = Object.entries({
    ...problem.headers,
    'cache-control': 'no-store',
    connection: 'close',
    'content-length': String(Buffer.byteLength(problem.body)),
  });
  const lines = headers.map(([name, value]) => `${name}: ${value}`).join('\r\n');
  return `HTTP/1.1 ${status ?? problem.status} ${error.message.replaceAll(/[^\x20-\x7e]/g, '')}\r\n${lines}\r\n\r\n${problem.body}`;
};
