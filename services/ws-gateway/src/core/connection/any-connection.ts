import type { Clock } from '@muster/kit/clock';
import { CLOSE_REASON, CloseCode, type UnsubscribeCode } from '@muster/protocol/codes';
import type { Payload, StreamPosition } from '@muster/protocol/commands';
import type { ClientId, GroupName } from '@muster/protocol/ids';
import type { ClientInfo } from '@muster/protocol/replies';
import type { ClientIdentity, ConnectionLimits, EngineMetrics, ServerSubscription, Wire, WireOwner } from '../ports.ts';
import type { Codec } from './codec.ts';
import { SendBuffer } from './send-buffer.ts';
import type { StallDetector } from './stall-detector.ts';
import type { Ticks, TimerEntry, TimerWheel } from './timer-wheel.ts';

/** The upgrade request of a connection. */
export interface UpgradeInfo {
  /** Session tokens or a ticket, used when `connect` has no token. */
  readonly tokens: readonly string[];
  /** `Origin` header. */
  readonly origin: string | undefined;
  /** `Host` header. */
  readonly host?: string | undefined;
  /** IPv4 address or IPv6 /64 of the client. */
  readonly address?: string;
  readonly codec: Codec;
  /** Pings are WebSocket ping frames in place of protocol messages. */
  readonly pingsByFrame?: boolean;
  /** The client opens its next connection before it closes the present connection, when it is requested to move. */
  readonly canMove?: boolean;
}

/** A subscription opened by the server API. Sent to other gateways as JSON. */
export interface SubscribeRequest {
  readonly group: GroupName;
  readonly terms: ServerSubscription;
  readonly recover?: StreamPosition;
}

/** A new end of a connection, set by the server API. Sent to other gateways as JSON. */
export interface RefreshRequest {
  /** The connection ends at once. */
  readonly expired: boolean;
  /** Milliseconds since the Unix epoch; undefined: the end of its credential. */
  readonly expiresAt?: number;
}

/** A connection of either kind. */
export interface AnyConnection {
  readonly id: ClientId;
  readonly transport: 'websocket' | 'plain';
  /** Undefined before the client is authenticated. */
  readonly identity: ClientIdentity | undefined;
  /** Names of the groups it is subscribed to. */
  readonly groups: readonly string[];
  /** Those of them in which it is a slow consumer being caught up. */
  readonly laggingGroups: readonly string[];
  /** Time of its upgrade, in milliseconds since the Unix epoch. */
  readonly since: number;
  /** Bytes that the kernel has not accepted yet. */
  readonly lagBytes: number;
  /** Changes whenever the kernel has accepted some of them. */
  readonly progress: number;
  /** `Host` of the upgrade request. */
  readonly host: string | undefined;
  /** Sends a close frame. The first call decides code and reason. */
  close(code: CloseCode, reason?: string): void;
  /** Destroys the socket without a close frame. */
  terminate(): void;
  readonly isClosed: boolean;
  /** Requests the client to move to another gateway; it is served until it closes. False when it cannot open the next connection first. */
  requestMove(): boolean;
  /** Called when `progress` has not changed within the write timeout although bytes wait. */
  onStalled(): void;
  /** Subscribes it to a group and notifies the client. False when it is subscribed already or may not be. Throws REDIS_UNAVAILABLE. */
  joinFromServer(request: SubscribeRequest): Promise<boolean>;
  /** Sends data outside of any group. False for a plain connection. */
  send(data: Payload): boolean;
  /** Sets its end; never later than that of a session. */
  refreshFromServer(request: RefreshRequest): boolean;
  /** Checks its permissions again after grants or options of groups have changed. */
  reviewPermissions(): void;
  /** Ends a subscription and notifies the client. */
  unsubscribe(group: GroupName, code: UnsubscribeCode): void;
}

/** Dependencies that the connections of a gateway share. */
export interface SharedContext {
  readonly clock: Clock;
  readonly wheel: TimerWheel;
  readonly metrics: EngineMetrics;
  readonly limits: ConnectionLimits;
  readonly ticks: Ticks;
  readonly stallDetector: Pick<StallDetector, 'watch'>;
}

/** The part that both kinds of connection have in common: the socket, its metrics, and closing for the session's sake. */
export abstract class AbstractConnection<Context extends SharedContext> implements TimerEntry, WireOwner {
  readonly id: ClientId;
  readonly since: number;
  dueAt = 0;
  wheelSlot = -1;
  wheelIndex = -1;
  isPaused = false;
  readonly sendBuffer: SendBuffer;
  protected readonly context: Context;
  protected readonly wire: Wire;

  constructor(context: Context, wire: Wire, id: ClientId, codec: Codec) {
    this.context = context;
    this.wire = wire;
    wire.owner = this;
    this.id = id;
    this.since = context.clock.now();
    this.sendBuffer = new SendBuffer(wire, codec, context.limits.maxSendBufferBytes, this, context.ticks);
  }

  abstract readonly isClosed: boolean;
  abstract close(code: CloseCode, reason?: string): void;
  abstract onDue(now: number): void;

  get lagBytes(): number {
    return this.wire.bufferedBytes;
  }

  get progress(): number {
    return this.wire.progress;
  }

  endSession(why: string): void {
    this.close(CloseCode.SessionEnded, `${CLOSE_REASON[CloseCode.SessionEnded]}: ${why}`);
  }

  renewSession(why: string): void {
    this.close(CloseCode.StateInvalidated, `session renewed: ${why}`);
  }

  onSlow(): void {
    if (this.isClosed) return;
    this.context.metrics.slowConsumer('disconnect');
    this.close(CloseCode.Slow);
  }

  onWriteDelayed(): void {
    this.context.stallDetector.watch(this);
  }

  /** A pong is written past the wire: its delay is found here. */
  onPing(): void {
    if (this.lagBytes > 0) this.onWriteDelayed();
  }

  onStalled(): void {
    if (this.isClosed) return;
    this.context.metrics.slowConsumer('stalled');
    this.close(CloseCode.WriteError);
    // The peer does not read the close frame.
    this.terminate();
  }

  terminate(): void {
    this.wire.terminate();
  }

  /** Stops reading from the client, so that the work it has requested does not pile up. */
  pause(): void {
    this.isPaused = true;
    this.wire.pause();
  }

  resume(): void {
    this.isPaused = false;
    this.wire.resume();
  }

  /** Sends the close frame and counts the disconnect. */
  protected closeWire(code: CloseCode, reason: string): void {
    this.context.metrics.disconnected('server', code);
    this.wire.close(code, reason);
  }

  /** Counts a disconnect that the peer or the socket layer started: its initiator, and the reason of a rejection. */
  protected recordDisconnect(code: number): void {
    const { metrics } = this.context;
    const rejection = REJECTED_BY_SOCKET.get(code);
    if (rejection === undefined) metrics.disconnected(code === ABNORMAL_CLOSURE ? 'network' : 'client', code);
    else {
      metrics.refused(rejection);
      metrics.disconnected('server', code);
    }
  }

  /** Ends its timer and records its duration. */
  protected retire(): void {
    const { clock, metrics, wheel } = this.context;
    metrics.lived((clock.now() - this.since) / 1000);
    wheel.remove(this);
  }
}

/** Close codes of the socket layer for invalid input, and the reason label of each. */
const REJECTED_BY_SOCKET: ReadonlyMap<number, string> = new Map([
  [1002, 'websocket_protocol'],
  [1007, 'not_utf8'],
  [1009, 'too_big'],
]);
const ABNORMAL_CLOSURE = 1006;

/** The identity of the newer revision of a session; `one` when both are the same. */
export const newerRevision = (one: ClientIdentity, other: ClientIdentity | undefined): ClientIdentity =>
  other === undefined || (other.rev ?? 0) <= (one.rev ?? 0) ? one : other;

/** Reason of a session renewal that is detected by comparing revisions. */
export const PRIVILEGES_RAISED = 'raised';

/** True when privileges were raised between two revisions of a session: the secret of the earlier one is retired then. */
export const hasRaisedPrivileges = (before: ClientIdentity, after: ClientIdentity): boolean =>
  before.user !== after.user ||
  (after.aal ?? 0) > (before.aal ?? 0) ||
  (after.authTime ?? 0) > (before.authTime ?? Number.POSITIVE_INFINITY);

/** Client info of a connection in presence, join/leave messages and its publications. */
export const infoOf = (client: ClientId, { user, info }: ClientIdentity): ClientInfo => ({
  user,
  client,
  ...(info === undefined ? {} : { connInfo: info }),
});
