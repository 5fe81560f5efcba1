import { type GroupKey, groupKeyOf } from '@muster/bus/group-key';
import type { Clock } from '@muster/kit/clock';
import { CLOSE_REASON, CloseCode } from '@muster/protocol/codes';
import type { Payload } from '@muster/protocol/commands';
import type { ClientId, GroupName } from '@muster/protocol/ids';
import type { ClientInfo } from '@muster/protocol/replies';
import { takesPayload } from '../data-format.ts';
import type { Hub } from '../group/hub.ts';
import { isTooLarge } from '../group/publication-size.ts';
import type { Subscriber, Subscription } from '../group/subscription.ts';
import type { GroupOptions } from '../namespaces.ts';
import type {
  ClientIdentity,
  ConnectionLimits,
  EngineMetrics,
  GatewayLimitScope,
  SessionHolder,
  Wire,
} from '../ports.ts';
import type { AnyConnection, RefreshRequest } from './any-connection.ts';
import type { ClientQuota, ClientQuotas } from './client-quotas.ts';
import { jsonCodec } from './codec.ts';
import { isRaised, newerOf, RAISED } from './connection-state.ts';
import { PONG_LOOK_MS, PROBE_AGAIN_MS } from './deadlines.ts';
import { recordDisconnect } from './disconnect-metrics.ts';
import { PING_FRAME, textFrame } from './frame.ts';
import type { GroupRates } from './group-rates.ts';
import { MAX_REFUSALS, TokenBucket } from './rate-limit.ts';
import { SendBuffer } from './send-buffer.ts';
import type { Ticks } from './ticks.ts';
import type { TimerEntry, TimerWheel } from './timer-wheel.ts';

/** What all plain connections of a gateway share. */
export interface PlainContext {
  readonly clock: Clock;
  readonly wheel: TimerWheel;
  readonly ticks: Ticks;
  readonly hub: Hub;
  readonly limits: ConnectionLimits;
  readonly metrics: EngineMetrics;
  readonly groupRates: GroupRates;
  readonly quotas: Pick<ClientQuotas, 'enter'>;
  /** The connection is over, for whatever reason. Called once. */
  leave(connection: PlainConnection): void;
  optionsOf(group: GroupName): GroupOptions | undefined;
  /** Whether a client may be in a group of the plain endpoint. */
  mayUse(identity: ClientIdentity, group: GroupName): boolean;
}

const HEARTBEAT_FRAME = textFrame(Buffer.from('{"type":"heartbeat"}'));
const NOT_PUBLISHED_FRAME = textFrame(
  Buffer.from('{"type":"error","code":100,"message":"internal server error"}'),
);
const badPayload = (reason: string): Buffer =>
  textFrame(Buffer.from(JSON.stringify({ type: 'error', code: 107, message: `bad request: ${reason}` })));
const BAD_FORMAT_FRAME = badPayload('the message is not of the `publication_data_format` of this group');
const TOO_LARGE_FRAME = badPayload('the publication has more bytes than MAX_PUBLICATION_BYTES');
const TOO_MANY_FRAME = textFrame(Buffer.from('{"type":"error","code":111,"message":"too many requests"}'));
const IN_ONE_GROUP = { size: 1 } as const;
/** Publications of one connection under way before its socket is read no further, and when it is again. */
const PAUSE_AT = 64;
const RESUME_AT = 16;

/** Who a plain client is, and where. */
export interface PlainConnectionTarget {
  readonly identity: ClientIdentity;
  readonly group: GroupName;
  /** `Host` of the upgrade. */
  readonly host: string | undefined;
  /** IPv4 address or IPv6 /64 that the client comes from. */
  readonly address: string;
}

/** One client of the plain endpoint: in one group for as long as it lives, every text frame a publication. */
export class PlainConnection implements AnyConnection, TimerEntry, SessionHolder, Subscriber {
  readonly transport = 'plain';
  /** Milliseconds since the Unix epoch. */
  readonly since: number;
  readonly id: ClientId;
  readonly host: string | undefined;
  readonly group: GroupName;
  /** Of its group. */
  readonly key: GroupKey;
  readonly sendBuffer: SendBuffer;
  /** How others see this client. */
  readonly info: ClientInfo;
  subscription: Subscription | undefined = undefined;
  isOver = false;
  dueAt = 0;
  wheelSlot = -1;
  wheelPlace = -1;
  readonly #context: PlainContext;
  readonly #wire: Wire;
  #identity: ClientIdentity;
  /** Undefined: the namespace of the group has been taken away. */
  #options: GroupOptions | undefined;
  readonly quota: ClientQuota;
  /** A plain client is in one group. */
  readonly memberships = IN_ONE_GROUP;
  /** Monotonic time of the last frame, a pong among them. */
  #heardAt: number;
  /** Monotonic time of the next ping. */
  #nextPingAt: number;
  /** Monotonic time since which a sign of life is waited for; 0 for none. */
  #probedAt = 0;
  /** Monotonic time at which the session, or what a back end said, ends it. */
  #endsAt: number;
  readonly #bucket: TokenBucket;
  #publishing = 0;
  /** A back end said when it ends, before its session does. */
  #isToldToEnd = false;
  #isPaused = false;

  constructor(context: PlainContext, wire: Wire, id: ClientId, place: PlainConnectionTarget) {
    const { clock, wheel, limits } = context;
    const { identity, group, host } = place;
    this.#context = context;
    this.#wire = wire;
    this.id = id;
    this.since = clock.now();
    this.#identity = identity;
    this.host = host;
    this.group = group;
    this.key = groupKeyOf(identity.tenant, group);
    this.#options = context.optionsOf(group);
    this.quota = context.quotas.enter({ ...identity, address: place.address }, this);
    const { user, info } = identity;
    this.info = { user, client: id, ...(info === undefined ? {} : { connInfo: info }) };
    this.sendBuffer = new SendBuffer(wire, jsonCodec, limits.maxSendBufferBytes, this, context.ticks);
    this.#heardAt = clock.monotonic();
    this.#bucket = new TokenBucket(limits.rate, this.#heardAt);
    this.#endsAt = this.#heardAt + (identity.expiresAt - clock.now());
    this.#nextPingAt = this.#heardAt + limits.pingIntervalMs;
    wheel.put(this, Math.min(this.#endsAt, this.#nextPingAt));
  }

  get identity(): ClientIdentity {
    return this.#identity;
  }

  get groups(): readonly string[] {
    return this.subscription === undefined ? [] : [this.group];
  }

  get laggingGroups(): readonly string[] {
    return this.subscription?.lag === undefined ? [] : [this.group];
  }

  get lagBytes(): number {
    return this.#wire.bufferedBytes;
  }

  get progress(): number {
    return this.#wire.progress;
  }

  onText(text: string): void {
    if (this.isOver) return;
    this.#heardAt = this.#context.clock.monotonic();
    if (Buffer.byteLength(text) > this.#context.limits.maxMessageBytes) {
      this.#context.metrics.refused('too_big');
      this.close(CloseCode.TooBig);
      return;
    }
    if (isHeartbeat(text)) {
      this.#context.metrics.received('heartbeat');
      this.sendBuffer.write(HEARTBEAT_FRAME);
      return;
    }
    this.#context.metrics.received('publish');
    if (!this.#maySend()) return;
    const data = payloadOf(text);
    if (this.#options !== undefined && !takesPayload(this.#options, data, false)) {
      this.sendBuffer.write(BAD_FORMAT_FRAME);
    } else if (this.quota.takeBytes(Buffer.byteLength(data))) this.#publish(data);
    else this.#refuse('published_bytes');
  }

  onBinary(): void {
    this.#context.metrics.refused('binary');
    this.close(CloseCode.BadRequest);
  }

  onPong(): void {
    this.#heardAt = this.#context.clock.monotonic();
  }

  onClosed(code: number): void {
    if (this.isOver) return;
    recordDisconnect(this.#context.metrics, code);
    this.#end();
  }

  /** Closes a connection that has been silent for longer than it may. */
  sweep(now: number, silenceMs: number): void {
    if (now - this.#heardAt <= silenceMs) return;
    this.#context.metrics.heartbeatTimeout();
    this.close(CloseCode.NoPong, 'no heartbeat');
  }

  probe(): void {
    const now = this.#context.clock.monotonic();
    if (this.isOver || this.#probedAt !== 0 || now - this.#heardAt < PROBE_AGAIN_MS) return;
    this.#probedAt = now;
    this.#ping(now);
  }

  onDue(now: number): void {
    if (this.#heardAt >= this.#probedAt) this.#probedAt = 0;
    const { pongTimeoutMs } = this.#context.limits;
    const isSilent = this.#probedAt !== 0 && now >= this.#probedAt + pongTimeoutMs;
    if (now < this.#endsAt && isSilent && this.#wire.bufferedBytes === 0) {
      this.#context.metrics.heartbeatTimeout();
      this.close(CloseCode.NoPong);
    } else if (now < this.#endsAt) {
      if (now >= this.#nextPingAt) this.#ping(now);
      else this.#rearm();
    } else if (this.#isToldToEnd || this.identity.sessionId === undefined) this.close(CloseCode.Expired);
    else this.endSession('expired');
  }

  renewSession(why: string): void {
    this.close(CloseCode.StateInvalidated, `session renewed: ${why}`);
  }

  reviseSession(identity: ClientIdentity): void {
    if (this.isOver || newerOf(this.#identity, identity) === this.#identity) return;
    if (isRaised(this.#identity, identity)) {
      this.renewSession(RAISED);
      return;
    }
    this.#identity = identity;
    this.#arm(identity.expiresAt);
    this.reviewRights();
  }

  /** Without the right to its group it ends. What was published meanwhile is not sent to it. */
  reviewRights(): void {
    this.#options = this.#context.optionsOf(this.group);
    if (!this.#context.mayUse(this.#identity, this.group)) this.close(CloseCode.PermissionDenied);
  }

  endSession(why: string): void {
    this.close(CloseCode.SessionEnded, `${CLOSE_REASON[CloseCode.SessionEnded]}: ${why}`);
  }

  /** Without its group a plain client is nothing. */
  endMembership(): void {
    this.close(CloseCode.ForceDisconnect);
  }

  /** Its messages are those of its group. */
  tell(): boolean {
    return false;
  }

  refreshFromServer({ expired, expiresAt }: RefreshRequest): boolean {
    const { clock } = this.#context;
    const leftMs = expiresAt === undefined ? Number.POSITIVE_INFINITY : expiresAt - clock.now();
    this.#isToldToEnd = leftMs < this.identity.expiresAt - clock.now();
    if (expired || leftMs <= 0) this.close(CloseCode.Expired);
    else this.#arm(Math.min(expiresAt ?? Number.POSITIVE_INFINITY, this.identity.expiresAt));
    return true;
  }

  /** A plain client is in one group. */
  async joinFromServer(): Promise<boolean> {
    return false;
  }

  /** A plain client cannot be told but by its end; it comes back and knows that it was away. */
  onInsufficientState(): void {
    this.close(CloseCode.InsufficientState);
  }

  onSlow(): void {
    if (this.isOver) return;
    this.#context.metrics.slowConsumer('disconnect');
    this.close(CloseCode.Slow);
  }

  close(code: CloseCode, reason: string = CLOSE_REASON[code]): void {
    if (this.isOver) return;
    this.#context.metrics.disconnected('server', code);
    this.#wire.close(code, reason);
    this.#end();
  }

  terminate(): void {
    this.#wire.terminate();
  }

  onStalled(): void {
    if (this.isOver) return;
    this.#context.metrics.slowConsumer('stalled');
    this.close(CloseCode.WriteError);
    // Nobody reads the close frame.
    this.terminate();
  }

  /** Ends it at an instant in ms since the Unix epoch. */
  #arm(at: number): void {
    const { clock } = this.#context;
    this.#endsAt = clock.monotonic() + (at - clock.now());
    this.#rearm();
  }

  #refuse(scope: GatewayLimitScope): void {
    this.#context.metrics.rateLimited(scope, this.identity);
    this.sendBuffer.write(TOO_MANY_FRAME);
  }

  /** Browsers answer by themselves; without a byte for a while, proxies on the way cut the connection. */
  #ping(now: number): void {
    this.#nextPingAt = now + this.#context.limits.pingIntervalMs;
    this.#context.metrics.sent('ping');
    this.sendBuffer.write(PING_FRAME);
    if (!this.isOver) this.#rearm();
  }

  #rearm(): void {
    const { clock, wheel, limits } = this.#context;
    const probeEnds = Math.max(this.#probedAt + limits.pongTimeoutMs, clock.monotonic() + PONG_LOOK_MS);
    const answerBy = this.#probedAt === 0 ? Number.POSITIVE_INFINITY : probeEnds;
    wheel.put(this, Math.min(this.#endsAt, this.#nextPingAt, answerBy));
  }

  #maySend(): boolean {
    const { limits, clock, groupRates } = this.#context;
    const isOwnFault = !this.#bucket.take(limits.rate, clock.monotonic());
    if (!isOwnFault && groupRates.take(this.key, this.#options?.publishRate ?? 0)) return true;
    this.#refuse(isOwnFault ? 'connection' : 'group');
    if (this.#bucket.refusals > MAX_REFUSALS) this.close(CloseCode.TooManyRequests);
    return false;
  }

  #publish(data: Payload): void {
    const { hub } = this.#context;
    this.#publishing += 1;
    this.#regulate();
    hub
      .publish({
        key: this.key,
        publication: { data, info: this.info },
        retention: this.#options?.retention,
        onlyIfHeard: true,
      })
      .catch((error: unknown) => {
        if (!this.isOver) this.sendBuffer.write(isTooLarge(error) ? TOO_LARGE_FRAME : NOT_PUBLISHED_FRAME);
      })
      .finally(() => {
        this.#publishing -= 1;
        this.#regulate();
      });
  }

  #regulate(): void {
    if (!this.#isPaused && this.#publishing > PAUSE_AT) {
      this.#isPaused = true;
      this.#wire.pause();
    } else if (this.#isPaused && this.#publishing < RESUME_AT) {
      this.#isPaused = false;
      this.#wire.resume();
    }
  }

  #end(): void {
    this.isOver = true;
    this.#context.metrics.lived((this.#context.clock.now() - this.since) / 1000);
    this.#context.wheel.remove(this);
    this.#context.leave(this);
  }
}

/** JSON text goes as the value it is, anything else as a JSON string. */
const payloadOf = (text: string): Payload => {
  try {
    JSON.parse(text);
  } catch {
    return JSON.stringify(text);
  }
  // Line breaks between the parts of a value would cut a protocol frame in two.
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
