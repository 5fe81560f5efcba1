import type { IncomingMessage, Server } from 'node:http';
import type { Duplex } from 'node:stream';
import { readRequestId } from '@muster/http/app';
import { rawProblem } from '@muster/http/listen';
import type { Logger } from '@muster/kit/logger';
import type { Refusal } from '@muster/kit/refusal-log';
import { AppError } from '@muster/protocol/errors';
import { type ServerOptions, WebSocket, WebSocketServer } from 'ws';
import type { HandshakeQueue } from '../auth/handshake-queue.ts';
import { jsonCodec, protobufCodec } from '../core/connection/codec.ts';
import type { GatewayEngine } from '../core/engine.ts';
import { andThen, type MaybePromise } from '../core/maybe-promise.ts';
import type { HandshakeResult } from '../metrics.ts';
import { type AddressLimitDeps, createAddressLimit, RETRY_AFTER_S } from './address-limit.ts';
import { type HandshakeRules, readHandshake, requireWebSocket } from './handshake.ts';
import { attachReceiver } from './receiver.ts';
import {
  authenticatePlainUpgrade,
  authenticateUpgrade,
  groupParameter,
  rejectionReasonOf,
  type UpgradeAuthenticationDeps,
} from './upgrade-authentication.ts';
import { SocketWire } from './wire.ts';

export interface SocketServerDeps extends AddressLimitDeps, UpgradeAuthenticationDeps {
  readonly server: Server;
  readonly engine: GatewayEngine;
  readonly rules: HandshakeRules;
  readonly log: Logger;
  /** Name of this instance, sent in `X-Muster-Gateway`. */
  readonly gateway: string;
  readonly limits: AddressLimitDeps['limits'] & {
    readonly maxConnections: number;
    readonly maxFrameBytes: number;
  };
  /** True when frames may be written to libuv handles directly. */
  readonly writesDirectly: boolean;
  isDraining(): boolean;
  readonly handshakeQueue: Pick<HandshakeQueue, 'isFull' | 'retryAfterS'>;
  /** Called for rejections that the client has caused. */
  onRejected(refusal: Refusal): void;
  onHandshake(result: HandshakeResult, seconds: number): void;
}

const PROTOCOL_PATH = '/connection/websocket';
const PROTOCOL_TARGET = { pathname: PROTOCOL_PATH, searchParams: new URLSearchParams() };
const PLAIN_PATH = '/ws';
const PROTOBUF_SUBPROTOCOL = 'centrifuge-protobuf';
/** `muster` is for clients that offer only a ticket: browsers require that an offered subprotocol is selected. */
const SUBPROTOCOLS = ['centrifuge-json', PROTOBUF_SUBPROTOCOL, 'muster'];
/** Longest wait for the close frame of a client. */
const CLOSE_TIMEOUT_MS = 5_000;

/** Handles the upgrades of an HTTP server: a rejected one gets an HTTP problem, an accepted one a connection of the engine. */
export const serveSockets = (deps: SocketServerDeps): Disposable => {
  const { server, engine } = deps;
  const sockets = createWebSocketServer(deps);
  const addresses = createAddressLimit(deps);
  let pending = 0;
  const disposal = new AbortController();

  const requireCapacity = (): void => {
    const retryAfterS = RETRY_AFTER_S;
    if (disposal.signal.aborted || deps.isDraining()) throw new AppError('DRAINING', { retryAfterS });
    const { connections, plain } = engine.counts();
    if (connections + plain + pending >= deps.limits.maxConnections) throw new AppError('OVERLOADED', { retryAfterS });
    if (deps.handshakeQueue.isFull())
      throw new AppError('OVERLOADED', { retryAfterS: deps.handshakeQueue.retryAfterS() });
  };
  /** Counts an upgrade against `MAX_CONNECTIONS` while its credential is checked. */
  const whilePending = <T>(work: MaybePromise<T>): MaybePromise<T> => {
    if (!(work instanceof Promise)) return work;
    pending += 1;
    return work.finally(() => {
      pending -= 1;
    });
  };

  const upgrade = (request: IncomingMessage, stream: Duplex, head: Buffer): MaybePromise<void> => {
    const url = targetOf(request);
    const { pathname, searchParams } = url;
    if (pathname !== PROTOCOL_PATH && pathname !== PLAIN_PATH) throw new AppError('NOT_FOUND');
    requireWebSocket(request.method, request.headers);
    // An SDK sends this header empty, which ws would reject.
    if (request.headers['sec-websocket-protocol']?.trim() === '') delete request.headers['sec-websocket-protocol'];
    requireCapacity();
    const address = addresses.add(request, stream);
    const handshake = readHandshake(request.headers, deps.rules);

    if (pathname === PROTOCOL_PATH) {
      return andThen(whilePending(authenticateUpgrade(deps, handshake)), () =>
        sockets.handleUpgrade(request, stream, head, (socket) => {
          const codec = isProtobuf(socket, searchParams) ? protobufCodec : jsonCodec;
          const pingsByFrame = searchParams.get('cf_ws_frame_ping_pong') === 'true';
          const canMove = searchParams.get('moves') === 'true';
          const wire = new SocketWire(socket, deps.writesDirectly);
          attachReceiver(socket, engine.open(wire, { ...handshake, address, codec, pingsByFrame, canMove }));
        }),
      );
    }
    const group = groupParameter(searchParams);
    const authenticated = whilePending(authenticatePlainUpgrade(deps, { ...handshake, address }, group));
    return andThen(authenticated, ({ identity, holder }) => {
      sockets.handleUpgrade(request, stream, head, (socket) => {
        const target = { identity, group, host: handshake.host, address };
        const connection = engine.openPlain(new SocketWire(socket, deps.writesDirectly), target, holder);
        attachReceiver(socket, connection);
        holder.transfer();
        connection.reviseSession(holder.newest(identity));
      });
      // `handleUpgrade` makes no socket for a peer that has disconnected.
      if (!holder.isTransferred) deps.authenticator.release(identity.sessionId, holder);
    });
  };

  const onUpgrade = (request: IncomingMessage, stream: Duplex, head: Buffer): void => {
    const startedAt = performance.now();
    const onAccepted = () => deps.onHandshake('accepted', (performance.now() - startedAt) / 1000);
    const onRefused = (error: unknown) => {
      const rejection = error instanceof AppError ? error : new AppError('INTERNAL', { cause: error });
      deps.onHandshake(resultOf(rejection), (performance.now() - startedAt) / 1000);
      reject(deps, request, stream, rejection);
    };
    stream.on('error', ignore);
    try {
      const work = upgrade(request, stream, head);
      if (work instanceof Promise) work.then(onAccepted, onRefused);
      else onAccepted();
    } catch (error) {
      onRefused(error);
    }
  };

  server.on('upgrade', onUpgrade);
  // The listener stays: open HTTP connections may still send an upgrade, which is answered 503.
  return { [Symbol.dispose]: () => disposal.abort() };
};

/** Answers an upgrade with an HTTP problem and logs the rejection. */
const reject = (
  { log, onRejected }: SocketServerDeps,
  request: IncomingMessage,
  stream: Duplex,
  rejection: AppError,
): void => {
  if (rejection.code === 'INTERNAL') log.error({ error: rejection.cause ?? rejection }, 'gateway.handshake_failed');
  const requestId = readRequestId(request.headers);
  if (!UNREPORTED.has(rejection.code))
    onRejected({ reason: rejectionReasonOf(rejection), requestId, origin: request.headers.origin });
  stream.end(rawProblem(rejection, undefined, requestId));
};

const ignore = (): void => {};

/** Faults of the gateway, logged where they occur. */
const UNREPORTED: ReadonlySet<string> = new Set(['INTERNAL', 'OVERLOADED', 'REDIS_UNAVAILABLE', 'DRAINING']);

/** Path and parameters of a request; most requests are for the protocol endpoint, without parameters. */
const targetOf = ({ url = '/' }: IncomingMessage): Pick<URL, 'pathname' | 'searchParams'> =>
  url === PROTOCOL_PATH ? PROTOCOL_TARGET : new URL(url, 'http://gateway');

const isProtobuf = (socket: WebSocket, searchParams: URLSearchParams): boolean =>
  socket.protocol === PROTOBUF_SUBPROTOCOL ||
  searchParams.get('format') === 'protobuf' ||
  searchParams.get('cf_protocol') === 'protobuf';

const createWebSocketServer = ({ limits, gateway }: SocketServerDeps): WebSocketServer => {
  const options: ServerOptions<typeof GatewaySocket> & { readonly closeTimeout: number } = {
    noServer: true,
    clientTracking: false,
    perMessageDeflate: false,
    maxPayload: limits.maxFrameBytes,
    autoPong: false,
    closeTimeout: CLOSE_TIMEOUT_MS,
    WebSocket: GatewaySocket,
    handleProtocols: (offered) => SUBPROTOCOLS.find((one) => offered.has(one)) ?? false,
  };
  const sockets = new WebSocketServer(options);
  sockets.on('headers', (headers) => headers.push(`X-Muster-Gateway: ${gateway}`));
  return sockets;
};

const REASONS: Readonly<Record<number, string>> = {
  1002: 'websocket protocol error',
  1007: 'invalid utf-8',
  1009: 'message too big',
};

/** Adds a reason to closes initiated by `ws`: SDKs misread an empty one. */
class GatewaySocket extends WebSocket {
  override close(code?: number, reason?: string | Buffer): void {
    super.close(code, reason ?? REASONS[code ?? 0]);
  }
}

const RESULTS: Readonly<Record<string, HandshakeResult>> = {
  NO_SESSION: 'rejected_auth',
  INVALID_TOKEN: 'rejected_auth',
  SESSION_ENDED: 'rejected_auth',
  FORBIDDEN: 'rejected_auth',
  ORIGIN_NOT_ALLOWED: 'rejected_origin',
  MALFORMED_REQUEST: 'rejected_bad_request',
  NOT_FOUND: 'rejected_bad_request',
  RATE_LIMITED: 'rejected_limit',
  OVERLOADED: 'rejected_overload',
  DRAINING: 'rejected_draining',
};

const resultOf = ({ code }: AppError): HandshakeResult => RESULTS[code] ?? 'error';
