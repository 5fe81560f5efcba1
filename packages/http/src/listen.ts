import { createServer, type RequestListener, type Server } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { after, every } from '@muster/kit/clock';
import { AppError, type ErrorCode } from '@muster/protocol/errors';
import { v4 } from 'uuid';
import { toProblem } from './problem.ts';

const IDLE_SWEEP_MS = 50;
const CLOSE_GRACE_MS = 5_000;
const HEADERS_TIMEOUT_MS = 5_000;
const REQUEST_TIMEOUT_MS = 10_000;
const CHECK_MS = 1_000;
/** Time for a refused client to read the answer before its connection is closed. */
const LINGER_MS = 1_000;

/** A listening HTTP server. Disposing it stops accepting and waits for requests in flight. */
export interface Listening extends AsyncDisposable {
  readonly server: Server;
  readonly port: number;
}

/**
 * Listen backlog, capped by the kernel (`net.core.somaxconn`). Thousands of clients that reconnect at once must not wait for a TCP
 * handshake to be repeated.
 */
const BACKLOG = 4_096;

/** Listens; rejects when the port is taken. Limits: headers within 5 s and 16 KiB, the whole request within 10 s. */
export const listen = async (
  app: RequestListener,
  options: { readonly host: string; readonly port: number; readonly requestTimeoutMs?: number },
): Promise<Listening> => {
  const { requestTimeoutMs = REQUEST_TIMEOUT_MS } = options;
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
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen({ port: options.port, host: options.host, backlog: BACKLOG }, resolve);
  });
  return {
    server,
    port: (server.address() as AddressInfo).port,
    [Symbol.asyncDispose]: () => closeServer(server),
  };
};

/** Closes connections as they become idle, and all others after the grace period. */
const closeServer = async (server: Server): Promise<void> => {
  if (!server.listening) return;
  const closed = new Promise((resolve) => server.close(resolve));
  const stopSweep = every(IDLE_SWEEP_MS, () => server.closeIdleConnections());
  const stopGrace = after(CLOSE_GRACE_MS, () => server.closeAllConnections());
  await closed;
  stopSweep();
  stopGrace();
};

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
