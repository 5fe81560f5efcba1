import { randomUUID } from 'node:crypto';
import type { IncomingMessage, Server } from 'node:http';
import type { Duplex } from 'node:stream';
import { addressBucket, createAddressReader } from '@muster/http/client-address';
import { rawProblem } from '@muster/http/listen';
import type { Logger } from '@muster/kit/logger';
import type { Refusal } from '@muster/kit/refusal-log';
import { AppError } from '@muster/protocol/errors';
import { type GroupName, parseGroupName } from '@muster/protocol/ids';
import { type ServerOptions, WebSocket, WebSocketServer } from 'ws';
import type { Authenticator } from '../auth/authenticator.ts';
import type { HandshakeQueue } from '../auth/handshake-queue.ts';
import { jsonCodec, protobufCodec } from '../core/connection/codec.ts';
import { newerOf } from '../core/connection/connection-state.ts';
import type { PlainConnectionTarget } from '../core/connection/plain-connection.ts';
import type { GatewayEngine } from '../core/engine.ts';
import type { ClientIdentity, PresentedCredential, SessionHolder } from '../core/ports.ts';
import { type Handshake, type HandshakeRules, readHandshake, requireWebSocket } from './handshake.ts';
import { attach } from './listeners.ts';
import { SocketWire } from './wire.ts';

/** How an upgrade ended; the label of the handshake counter. */
export type HandshakeResult =
  | 'accepted'
  | 'rejected_auth'
  | 'rejected_origin'
  | 'rejected_bad_request'
  | 'rejected_limit'
  | 'rejected_overload'
  | 'rejected_draining'
  | 'error';

/** How many sockets, and what size of message. */
export interface SocketLimits {
  readonly maxConnections: number;
  /** Sockets of one address; 0 for no limit. */
  readonly maxConnectionsPerIp: number;
  readonly trustedProxies: readonly string[];
  readonly maxFrameBytes: number;
}

export interface SocketServerDeps {
  readonly server: Server;
  readonly engine: GatewayEngine;
  readonly gate: Authenticator;
  readonly rules: HandshakeRules;
  readonly log: Logger;
  /** Name of this instance, sent in `X-Muster-Gateway`. */
  readonly gateway: string;
  readonly limits: SocketLimits;
  /** Frames may go to the handles of sockets, past their streams. */
  readonly writesDirectly: boolean;
  isBusUp(): boolean;
  isDraining(): boolean;
  /** The queue before the gate. */
  readonly admission: Pick<HandshakeQueue, 'isFull' | 'retryAfterS'>;
  /** A socket too many for its address. */
  onCrowded(address: string): void;
  /** A handshake was refused for something that the caller did. */
  onRefused(refusal: Refusal): void;
  onHandshake(result: HandshakeResult, seconds: number): void;
}

const PROTOCOL_PATH = '/connection/websocket';
const PLAIN_PATH = '/ws';
const PROTOBUF_SUBPROTOCOL = 'centrifuge-protobuf';
/** `muster` is for clients that offer a ticket and nothing else: browsers want one of their offers taken. */
const SUBPROTOCOLS = ['centrifuge-json', PROTOBUF_SUBPROTOCOL, 'muster'];
/** How long a client may take to answer a close frame. */
const CLOSE_TIMEOUT_MS = 5_000;
const RETRY_AFTER_S = 2;

/** Takes the upgrades of an HTTP server: refused ones get an HTTP answer, granted ones a connection of the engine. */
export const serveSockets = (deps: SocketServerDeps): Disposable => {
  const { server, engine, log } = deps;
  const sockets = createWebSocketServer(deps);
  const addresses = createAddressLimit(deps);
  let pending = 0;
  const disposal = new AbortController();

  const requireRoom = (): void => {
    const retryAfterS = RETRY_AFTER_S;
    if (disposal.signal.aborted || deps.isDraining()) throw new AppError('DRAINING', { retryAfterS });
    const { connections, plain } = engine.counts();
    if (connections + plain + pending >= deps.limits.maxConnections)
      throw new AppError('OVERLOADED', { retryAfterS });
    if (deps.admission.isFull())
      throw new AppError('OVERLOADED', { retryAfterS: deps.admission.retryAfterS() });
  };
  /** Keeps a place while the credential is looked at. */
  const whilePending = async <T>(work: Promise<T>): Promise<T> => {
    pending += 1;
    try {
      return await work;
    } finally {
      pending -= 1;
    }
  };

  const grant = async (request: IncomingMessage, stream: Duplex, head: Buffer): Promise<void> => {
    const url = new URL(request.url ?? '/', 'http://gateway');
    if (url.pathname !== PROTOCOL_PATH && url.pathname !== PLAIN_PATH) throw new AppError('NOT_FOUND');
    requireWebSocket(request.method, request.headers);
    // An SDK sends this header with nothing in it, which ws would refuse.
    if (request.headers['sec-websocket-protocol']?.trim() === '')
      delete request.headers['sec-websocket-protocol'];
    requireRoom();
    const address = addresses.take(request, stream);
    const handshake = readHandshake(request.headers, deps.rules);

    if (url.pathname === PROTOCOL_PATH) {
      await whilePending(admitProtocol(deps, handshake));
      sockets.handleUpgrade(request, stream, head, (socket) => {
        const codec = isProtobuf(socket, url) ? protobufCodec : jsonCodec;
        const pingsByFrame = url.searchParams.get('cf_ws_frame_ping_pong') === 'true';
        const wire = new SocketWire(socket, deps.writesDirectly);
        attach(socket, engine.open(wire, { ...handshake, address, codec, pingsByFrame }));
      });
      return;
    }
    const group = groupOf(url);
    const { identity, holder } = await whilePending(admitPlain(deps, { ...handshake, address }, group));
    sockets.handleUpgrade(request, stream, head, (socket) => {
      const place = { identity, group, host: handshake.host, address };
      const connection = engine.openPlain(new SocketWire(socket, deps.writesDirectly), place, holder);
      attach(socket, connection);
      holder.pass();
      connection.reviseSession(holder.newest(identity));
    });
    // A peer that went away in between gets no socket.
    if (!holder.isPassed) deps.gate.release(identity.sessionId, holder);
  };

  const onUpgrade = (request: IncomingMessage, stream: Duplex, head: Buffer): void => {
    const begun = performance.now();
    const seconds = () => (performance.now() - begun) / 1000;
    stream.on('error', ignore);
    grant(request, stream, head)
      .then(() => deps.onHandshake('accepted', seconds()))
      .catch((error: unknown) => {
        const known = error instanceof AppError ? error : new AppError('INTERNAL', { cause: error });
        if (known.code === 'INTERNAL') log.error({ error }, 'gateway.handshake_failed');
        deps.onHandshake(resultOf(known), seconds());
        const requestId = requestIdIn(request);
        if (!QUIET.has(known.code))
          deps.onRefused({ ...refusalOf(known), requestId, origin: request.headers.origin });
        stream.end(rawProblem(known, undefined, requestId));
      });
  };

  server.on('upgrade', onUpgrade);
  // The listener stays: connections that the server still has may send an upgrade, and are answered 503.
  return { [Symbol.dispose]: () => disposal.abort() };
};

const ignore = (): void => {};

/** Faults of ours are told elsewhere. */
const QUIET: ReadonlySet<string> = new Set(['INTERNAL', 'OVERLOADED', 'REDIS_UNAVAILABLE', 'DRAINING']);
const REQUEST_ID = /^[\w-]{8,64}$/;

/** The id that the caller or the balancer gave, as in all our answers. */
const requestIdIn = ({ headers }: IncomingMessage): string => {
  const given = headers['x-request-id'];
  return typeof given === 'string' && REQUEST_ID.test(given) ? given : randomUUID();
};

const refusalOf = ({ code, cause }: AppError): { reason: string } => ({
  reason: cause instanceof CredentialFault ? cause.message : code.toLowerCase(),
});

/** Why a credential is refused; the client is told less. */
class CredentialFault extends Error {}

const isProtobuf = (socket: WebSocket, { searchParams }: URL): boolean =>
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

/** Gives a reason to the closes that `ws` starts by itself: an empty one misleads SDKs. */
class GatewaySocket extends WebSocket {
  override close(code?: number, reason?: string | Buffer): void {
    super.close(code, reason ?? REASONS[code ?? 0]);
  }
}

/** A bearer token is checked here; a cookie only for its signature, for `connect` may bring a better credential. */
const admitProtocol = async (deps: SocketServerDeps, handshake: Handshake): Promise<void> => {
  const { via, tokens } = handshake;
  if (via === 'cookie' && !deps.gate.isGenuine(tokens))
    throw new AppError('INVALID_TOKEN', { cause: new CredentialFault('signature') });
  if (via !== 'bearer') return;
  const holder = new PendingUpgrade();
  const identity = await requireIdentity(deps, handshake, holder);
  deps.gate.release(identity.sessionId, holder);
};

const admitPlain = async (
  deps: SocketServerDeps,
  handshake: Handshake & { readonly address: string },
  group: GroupName,
): Promise<{ identity: ClientIdentity; holder: PendingUpgrade }> => {
  const holder = new PendingUpgrade();
  const identity = await requireIdentity(deps, handshake, holder);
  const { host, address } = handshake;
  const problem = problemOf(deps, { identity, group, host, address });
  if (problem === undefined) return { identity, holder };
  deps.gate.release(identity.sessionId, holder);
  throw problem;
};

const problemOf = (
  { engine, isBusUp }: SocketServerDeps,
  place: PlainConnectionTarget,
): AppError | undefined => {
  if (!engine.mayUse(place.identity, place.group)) {
    return new AppError('FORBIDDEN', { detail: 'This session may not use this group.' });
  }
  if (!isBusUp()) return new AppError('REDIS_UNAVAILABLE', { retryAfterS: RETRY_AFTER_S });
  if (engine.hasQuota(place)) return undefined;
  return tooManyConnections('This session has opened as many groups as it may for now.');
};

const requireIdentity = async (
  { gate, admission: queue }: SocketServerDeps,
  shown: PresentedCredential,
  holder: PendingUpgrade,
): Promise<ClientIdentity> => {
  const admission = await gate.admit(shown, holder);
  if (admission.ok && holder.endedBecause === undefined) return admission.identity;
  if (admission.ok) throw new AppError('SESSION_ENDED', { extra: { reason: holder.endedBecause } });
  switch (admission.why) {
    case 'invalid':
      throw new AppError('INVALID_TOKEN', { cause: new CredentialFault(admission.fault ?? 'signature') });
    case 'ended':
      throw new AppError('SESSION_ENDED', { extra: { reason: admission.reason } });
    case 'expired':
      throw new AppError('INVALID_TOKEN', { detail: 'The token has run out, or is not good yet.' });
    case 'no_user':
      throw new AppError('FORBIDDEN', { detail: 'The token names no user.' });
    case 'none':
      throw new AppError('NO_SESSION', { detail: 'Send a session cookie, a bearer token or a ticket.' });
    case 'unavailable':
      throw new AppError('OVERLOADED', {
        detail: 'Sessions cannot be checked at present.',
        retryAfterS: Math.max(RETRY_AFTER_S, queue.retryAfterS()),
      });
    case 'crowded':
      throw tooManyConnections('This user or session has as many connections as it may have.');
    default:
      return admission satisfies never;
  }
};

/** Holds a session between its check and the socket. */
class PendingUpgrade implements SessionHolder {
  endedBecause: string | undefined = undefined;
  isPassed = false;
  #revised: ClientIdentity | undefined = undefined;

  /** What was heard of the session while the upgrade was under way. */
  newest(identity: ClientIdentity): ClientIdentity {
    return newerOf(identity, this.#revised);
  }
  reviseSession(identity: ClientIdentity): void {
    this.#revised = newerOf(identity, this.#revised);
  }
  endSession(why: string): void {
    this.endedBecause = why;
  }
  /** What was checked holds no more; the client tries again with what it has by then. */
  renewSession(why: string): void {
    this.endedBecause = why;
  }
  /** A connection has taken over. */
  pass(): void {
    this.isPassed = true;
  }
}

const tooManyConnections = (detail: string): AppError =>
  new AppError('RATE_LIMITED', { detail, retryAfterS: RETRY_AFTER_S });

/** Counts sockets by the address they come from, from the upgrade to the end of the socket. */
const createAddressLimit = (deps: SocketServerDeps) => {
  const { maxConnectionsPerIp: most, trustedProxies } = deps.limits;
  const addressOf = createAddressReader(trustedProxies);
  const counts = new Map<string, number>();
  return {
    /** The address. Throws {@link AppError} when it has as many as it may have. */
    take: (request: IncomingMessage, stream: Duplex): string => {
      const { remoteAddress: remote } = request.socket;
      const forwardedFor = request.headers['x-forwarded-for'];
      const address = addressBucket(addressOf({ remote, forwardedFor }));
      if (most === 0) return address;
      const count = counts.get(address) ?? 0;
      if (count >= most) {
        deps.onCrowded(address);
        throw tooManyConnections('Too many connections come from this address.');
      }
      counts.set(address, count + 1);
      stream.once('close', () => {
        const left = (counts.get(address) ?? 1) - 1;
        if (left === 0) counts.delete(address);
        else counts.set(address, left);
      });
      return address;
    },
  };
};

const groupOf = (url: URL): GroupName => {
  const group = parseGroupName(url.searchParams.get('group') ?? '');
  if (group === undefined) {
    throw new AppError('MALFORMED_REQUEST', {
      detail: '`group` must be the name of a group: 1 to 255 printable ASCII characters.',
    });
  }
  return group;
};

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
