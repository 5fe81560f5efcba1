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
/** Time for a refused client to read why, before its connection is cut. */
const LINGER_MS = 1_000;

/** An HTTP server that listens. Disposing it stops accepting and waits for the answers under way. */
export interface Listening extends AsyncDisposable {
  readonly server: Server;
  readonly port: number;
}

/**
 * Connections that may wait to be accepted, as far as the kernel lets us (`net.core.somaxconn`). Thousands of clients that
 * come back at once must not wait for a lost handshake of TCP to be repeated.
 */
const BACKLOG = 4_096;

/** Listens; rejects when the port is taken. Slow or oversized requests are ended: headers 5 s, body 10 s, headers 16 KiB. */
export const listen = async (
  app: RequestListener,
  options: { readonly host: string; readonly port: number; readonly requestTimeoutMs?: number },
): Promise<Listening> => {
  const { requestTimeoutMs = REQUEST_TIMEOUT_MS } = options;
  const server = createServer(
    {
      headersTimeout: Math.min(HEADERS_TIMEOUT_MS, requestTimeoutMs),
      requestTimeout: requestTimeoutMs,
      // Node looks every 30 s by default, which would make 40 s of the limit.
      connectionsCheckingInterval: Math.min(CHECK_MS, requestTimeoutMs / 4),
      maxHeaderSize: 16_384,
    },
    app,
  );
  // Longer than the idle time of load balancers, so that they and not we close idle connections.
  server.keepAliveTimeout = 65_000;
  server.on('clientError', (error: NodeJS.ErrnoException, socket) =>
    refuseConnection(error, socket as Socket),
  );
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

/** Connections that become idle are closed as they do; what is still under way after the grace is cut. */
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

/** What the HTTP parser could not read never becomes a request, so it is answered on the bare socket. */
const refuseConnection = (error: NodeJS.ErrnoException, socket: Socket): void => {
  if (error.code === 'ECONNRESET' || !socket.writable) return void socket.destroy();
  const [code, status] = PARSER_CODES[error.code ?? ''] ?? ['MALFORMED_REQUEST', 400];
  socket.end(rawProblem(new AppError(code), status));
  const stop = after(LINGER_MS, () => socket.destroy());
  socket.once('close', stop);
};

/** A whole HTTP/1.1 response with a problem body, for sockets that have no response object (refused upgrades). */
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
