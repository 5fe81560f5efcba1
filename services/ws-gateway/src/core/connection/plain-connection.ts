import { type GroupKey, groupKeyOf } from '@muster/bus/group-key';
import { CLOSE_REASON, CloseCode } from '@muster/protocol/codes';
import type { Payload } from '@muster/protocol/commands';
import type { ClientId, GroupName } from '@muster/protocol/ids';
import type { ClientInfo } from '@muster/protocol/replies';
import type { Hub } from '../group/hub.ts';
import { isTooLarge } from '../group/publication-size.ts';
import type { SubscriberConnection, Subscription } from '../group/subscription.ts';
import { acceptsPayload, type GroupOptions } from '../namespaces.ts';
import type { ClientIdentity, GatewayLimitScope, SessionHolder, Wire } from '../ports.ts';
import {
  AbstractConnection,
  type AnyConnection,
  hasRaisedPrivileges,
  infoOf,
  newerRevision,
  PRIVILEGES_RAISED,
  type RefreshRequest,
  type SharedContext,
} from './any-connection.ts';
import type { ClientQuota, ClientQuotas } from './client-quotas.ts';
import { jsonCodec } from './codec.ts';
import { monotonicAt, PONG_CHECK_MS, PROBE_INTERVAL_MS } from './deadlines.ts';
import { type GroupRates, MAX_REJECTIONS, TokenBucket } from './rate-limit.ts';
import { PING_FRAME, textFrame } from './websocket-frame.ts';

/** Dependencies that the plain connections of a gateway share. */
export interface PlainContext extends SharedContext {
  readonly hub: Hub;
  readonly groupRates: GroupRates;
  readonly quotas: Pick<ClientQuotas, 'enter'>;
  /** Releases what the connection holds. Called once, when it is closed. */
  leave(connection: PlainConnection): void;
  optionsOf(group: GroupName): GroupOptions | undefined;
  /** True when a client may both subscribe and publish. */
  mayUse(identity: ClientIdentity, group: GroupName): boolean;
}

const HEARTBEAT_FRAME = textFrame(Buffer.from('{"type":"heartbeat"}'));
const INTERNAL_ERROR_FRAME = textFrame(Buffer.from('{"type":"error","code":100,"message":"internal server error"}'));
const badPayload = (reason: string): Buffer =>
  textFrame(Buffer.from(JSON.stringify({ type: 'error', code: 107, message: `bad request: ${reason}` })));
const BAD_FORMAT_FRAME = badPayload('the message is not of the `publication_data_format` of this group');
const TOO_LARGE_FRAME = badPayload('the publication has more bytes than MAX_PUBLICATION_BYTES');
const TOO_MANY_FRAME = textFrame(Buffer.from('{"type":"error","code":111,"message":"too many requests"}'));
const ONE_GROUP = { size: 1 } as const;
/** Pending publications above which the socket is paused, and below which it is resumed. */
const PAUSE_AT = 64;
const RESUME_AT = 16;

/** An authenticated upgrade request to the plain endpoint. */
export interface PlainConnectionTarget {
  readonly identity: ClientIdentity;
  readonly group: GroupName;
  /** `Host` header. */
  readonly host: string | undefined;
  /** IPv4 address or IPv6 /64 of the client. */
  readonly address: string;
}

/** A client of the plain endpoint: subscribed to one group, and every text frame is a publication. */
export class PlainConnection
  extends AbstractConnection<PlainContext>
  implements AnyConnection, SessionHolder, SubscriberConnection
{
  readonly transport = 'plain';
  readonly host: string | undefined;
  readonly group: GroupName;
  readonly key: GroupKey;
  /** Publisher info of its publications. */
  readonly info: ClientInfo;
  subscription: Subscription | undefined = undefined;
  isClosed = false;
  #identity: ClientIdentity;
  /** Undefined: the namespace of the group was removed. */
  #options: GroupOptions | undefined;
  readonly quota: ClientQuota;
  /** Counts as one in the quota. */
  readonly memberships = ONE_GROUP;
  /** Monotonic time of the last frame, including pongs. */
  #receivedAt: number;
  /** Monotonic time of the next ping. */
  #nextPingAt: number;
  /** Monotonic time of the outstanding probe; 0: none. */
  #probedAt = 0;
  /** Monotonic time of its end: that of its session or token, or set by the server API. */
  #endsAt: number;
  readonly #bucket: TokenBucket;
  #publishing = 0;
  /** The server API has set an end before that of the credential. */
  #endsEarly = false;

  constructor(context: PlainContext, wire: Wire, id: ClientId, target: PlainConnectionTarget) {
    super(context, wire, id, jsonCodec);
    const { clock, wheel, limits } = context;
    const { identity, group, host } = target;
    this.#identity = identity;
    this.host = host;
    this.group = group;
    this.key = groupKeyOf(identity.tenant, group);
    this.#options = context.optionsOf(group);
    this.quota = context.quotas.enter({ ...identity, address: target.address }, this);
    this.info = infoOf(id, identity);
    this.#receivedAt = clock.monotonic();
    this.#bucket = new TokenBucket(limits.rate, this.#receivedAt);
    this.#endsAt = monotonicAt(clock, identity.expiresAt);
    this.#nextPingAt = this.#receivedAt + limits.pingIntervalMs;
    wheel.put(this, Math.min(this.#endsAt, this.#nextPingAt));
  }

  get identity(): ClientIdentity {
    return this.#identity;
  }

  get groups(): readonly string[] {
    return this.subscription === undefined ? [] : [this.group];
  }

  requestMove(): boolean {
    return false;
  }

  get laggingGroups(): readonly string[] {
    return this.subscription?.lag === undefined ? [] : [this.group];
  }

  onFrame(frame: string | Buffer): void {
    if (this.isClosed) return;
    const { clock, limits, metrics } = this.context;
    if (typeof frame !== 'string') {
      metrics.refused('binary');
      this.close(CloseCode.BadRequest);
      return;
    }
    this.#receivedAt = clock.monotonic();
    if (Buffer.byteLength(frame) > limits.maxMessageBytes) {
      metrics.refused('too_big');
      this.close(CloseCode.TooBig);
      return;
    }
    if (isHeartbeat(frame)) {
      metrics.received('heartbeat');
      this.sendBuffer.write(HEARTBEAT_FRAME);
      return;
    }
    metrics.received('publish');
    if (!this.#takePublication()) return;
    const data = payloadOf(frame);
    if (this.#options !== undefined && !acceptsPayload(this.#options, data, false)) {
      this.sendBuffer.write(BAD_FORMAT_FRAME);
    } else if (this.quota.takeBytes(Buffer.byteLength(data))) this.#publish(data);
    else this.#replyTooMany('published_bytes');
  }

  onPong(): void {
    this.#receivedAt = this.context.clock.monotonic();
  }

  onClosed(code: number): void {
    if (this.isClosed) return;
    this.recordDisconnect(code);
    this.#end();
  }

  /** Closes it after `silenceMs` without a frame. */
  sweep(now: number, silenceMs: number): void {
    if (now - this.#receivedAt <= silenceMs) return;
    this.context.metrics.heartbeatTimeout();
    this.close(CloseCode.NoPong, 'no heartbeat');
  }

  probe(): void {
    const now = this.context.clock.monotonic();
    if (this.isClosed || this.#probedAt !== 0 || now - this.#receivedAt < PROBE_INTERVAL_MS) return;
    this.#probedAt = now;
    this.#ping(now);
  }

  onDue(now: number): void {
    if (this.#receivedAt >= this.#probedAt) this.#probedAt = 0;
    const { pongTimeoutMs } = this.context.limits;
    const isSilent = this.#probedAt !== 0 && now >= this.#probedAt + pongTimeoutMs;
    if (now < this.#endsAt && isSilent && this.wire.bufferedBytes === 0) {
      this.context.metrics.heartbeatTimeout();
      this.close(CloseCode.NoPong);
    } else if (now < this.#endsAt) {
      if (now >= this.#nextPingAt) this.#ping(now);
      else this.#rearm();
    } else if (this.#endsEarly || this.identity.sessionId === undefined) this.close(CloseCode.Expired);
    else this.endSession('expired');
  }

  reviseSession(identity: ClientIdentity): void {
    if (this.isClosed || newerRevision(this.#identity, identity) === this.#identity) return;
    if (hasRaisedPrivileges(this.#identity, identity)) {
      this.renewSession(PRIVILEGES_RAISED);
      return;
    }
    this.#identity = identity;
    this.#endAt(identity.expiresAt);
    this.reviewPermissions();
  }

  /** Closes it without the permission to use its group. */
  reviewPermissions(): void {
    this.#options = this.context.optionsOf(this.group);
    if (!this.context.mayUse(this.#identity, this.group)) this.close(CloseCode.PermissionDenied);
  }

  /** Closes it: its only subscription ends. */
  unsubscribe(): void {
    this.close(CloseCode.ForceDisconnect);
  }

  /** The plain endpoint delivers publications only. */
  send(): boolean {
    return false;
  }

  refreshFromServer({ expired, expiresAt }: RefreshRequest): boolean {
    const { clock } = this.context;
    const leftMs = expiresAt === undefined ? Number.POSITIVE_INFINITY : expiresAt - clock.now();
    this.#endsEarly = leftMs < this.identity.expiresAt - clock.now();
    if (expired || leftMs <= 0) this.close(CloseCode.Expired);
    else this.#endAt(Math.min(expiresAt ?? Number.POSITIVE_INFINITY, this.identity.expiresAt));
    return true;
  }

  /** A plain connection has one subscription. */
  async joinFromServer(): Promise<boolean> {
    return false;
  }

  /** Closes it: the plain endpoint has no other signal for lost publications. */
  onInsufficientState(): void {
    this.close(CloseCode.InsufficientState);
  }

  close(code: CloseCode, reason: string = CLOSE_REASON[code]): void {
    if (this.isClosed) return;
    // Received publications precede the close frame, except for a client that does not read.
    if (code !== CloseCode.Slow && this.subscription !== undefined) this.context.hub.flush(this.subscription);
    if (this.isClosed) return;
    this.closeWire(code, reason);
    this.#end();
  }

  /** Sets its end, in ms since the Unix epoch. */
  #endAt(expiresAt: number): void {
    this.#endsAt = monotonicAt(this.context.clock, expiresAt);
    this.#rearm();
  }

  #replyTooMany(scope: GatewayLimitScope): void {
    this.context.metrics.rateLimited(scope, this.identity);
    this.sendBuffer.write(TOO_MANY_FRAME);
  }

  /** Sends a ping frame. It also keeps proxies from closing an idle connection. */
  #ping(now: number): void {
    this.#nextPingAt = now + this.context.limits.pingIntervalMs;
    this.context.metrics.sent('ping');
    this.sendBuffer.write(PING_FRAME);
    if (!this.isClosed) this.#rearm();
  }

  #rearm(): void {
    const { clock, wheel, limits } = this.context;
    const probeEnds = Math.max(this.#probedAt + limits.pongTimeoutMs, clock.monotonic() + PONG_CHECK_MS);
    const answerBy = this.#probedAt === 0 ? Number.POSITIVE_INFINITY : probeEnds;
    wheel.put(this, Math.min(this.#endsAt, this.#nextPingAt, answerBy));
  }

  #takePublication(): boolean {
    const { limits, clock, groupRates } = this.context;
    const isOverOwnRate = !this.#bucket.take(limits.rate, clock.monotonic());
    if (!isOverOwnRate && groupRates.take(this.key, this.#options?.publishRate ?? 0)) return true;
    this.#replyTooMany(isOverOwnRate ? 'connection' : 'group');
    if (this.#bucket.rejections > MAX_REJECTIONS) this.close(CloseCode.TooManyRequests);
    return false;
  }

  #publish(data: Payload): void {
    const { hub } = this.context;
    this.#publishing += 1;
    this.#regulate();
    hub
      .publish({
        key: this.key,
        publication: { data, info: this.info },
        retention: this.#options?.retention,
        onlyIfSubscribed: true,
      })
      .catch((error: unknown) => {
        if (!this.isClosed) this.sendBuffer.write(isTooLarge(error) ? TOO_LARGE_FRAME : INTERNAL_ERROR_FRAME);
      })
      .finally(() => {
        this.#publishing -= 1;
        this.#regulate();
      });
  }

  #regulate(): void {
    if (!this.isPaused && this.#publishing > PAUSE_AT) this.pause();
    else if (this.isPaused && this.#publishing < RESUME_AT) this.resume();
  }

  #end(): void {
    this.isClosed = true;
    this.retire();
    this.context.leave(this);
  }
}

/** JSON text is published as that value, other text as a JSON string. */
const payloadOf = (text: string): Payload => {
  try {
    JSON.parse(text);
  } catch {
    return JSON.stringify(text);
  }
  // A line break inside the value would split a protocol frame.
  return text.trim().replace(/[\r\n]+/g, ' ');
};

const isHeartbeat = (text: string): boolean => {
  if (text.length > 64 || !text.includes('heartbeat')) return false;
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value !== 'object' || value === null) return false;
    return Object.keys(value).length === 1 && (value as { type?: unknown }).type === 'heartbeat';
  } catch {
    return false;
  }
};
