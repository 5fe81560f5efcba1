import type { Random } from '@muster/kit/runtime';
import { CLOSE_REASON, CloseCode, errorWithReason, type ReplyError, UnsubscribeCode } from '@muster/protocol/codes';
import type { ClientCommand, Payload } from '@muster/protocol/commands';
import type { ClientId, GroupName } from '@muster/protocol/ids';
import type { ClientInfo, CommandReply, SubscribeResult } from '@muster/protocol/replies';
import type { SubscriberConnection, Subscription } from '../group/subscription.ts';
import type { SubscribePermissionBasis } from '../permissions.ts';
import type { ClientIdentity, SessionHolder, Wire } from '../ports.ts';
import {
  AbstractConnection,
  type AnyConnection,
  hasRaisedPrivileges,
  newerRevision,
  PRIVILEGES_RAISED,
  type RefreshRequest,
  type SharedContext,
  type SubscribeRequest,
  type UpgradeInfo,
} from './any-connection.ts';
import type { ClientQuota } from './client-quotas.ts';
import type { Codec } from './codec.ts';
import { Deadlines } from './deadlines.ts';
import { MAX_REJECTIONS, TokenBucket } from './rate-limit.ts';
import { PING_FRAME } from './websocket-frame.ts';

/** Dependencies that the protocol connections of a gateway share. */
export interface ConnectionContext extends SharedContext {
  readonly random: Random;
  /** Processes a frame from the client. */
  receive(connection: Connection, frame: string | Buffer): void;
  /** Releases what the connection holds. Called once, when it is closed. */
  leave(connection: Connection): void;
  /** Subscribes a connection for the server API. False when it is subscribed already. Throws REDIS_UNAVAILABLE. */
  join(connection: Connection, request: SubscribeRequest): Promise<boolean>;
  /** Writes the batched publications of one subscription. */
  flush(subscription: Subscription): void;
  /** Ends one subscription. */
  drop(subscription: Subscription): void;
  /** Ends the subscriptions that are no longer permitted. */
  review(connection: Connection): void;
}

/** State of a connection. */
export type Phase =
  /** No `connect` command yet. */
  | { readonly is: 'handshake' }
  /** The credential is being checked. */
  | { readonly is: 'connecting' }
  /** `connect` was answered with an error; the client must close. */
  | { readonly is: 'rejected' }
  | { readonly is: 'live'; readonly identity: ClientIdentity; readonly info: ClientInfo }
  | { readonly is: 'closed' };

/** The phases without an identity, shared by all connections. */
const PHASE = {
  handshake: { is: 'handshake' },
  connecting: { is: 'connecting' },
  rejected: { is: 'rejected' },
  closed: { is: 'closed' },
} as const satisfies Record<string, Phase>;

/** A subscription of a connection: being opened, or live. */
export type ConnectionSubscription =
  | { readonly is: 'joining'; readonly isServerSide: boolean }
  | {
      readonly is: 'live';
      readonly subscription: Subscription;
      readonly isServerSide: boolean;
      readonly basis: SubscribePermissionBasis;
    };

/** A deadline that is met so much late, in ms, was met after a pause of the process. */
const PAUSED_MS = 1_000;

/** A client of the protocol. */
export class Connection
  extends AbstractConnection<ConnectionContext>
  implements AnyConnection, SessionHolder, SubscriberConnection
{
  readonly transport = 'websocket';
  readonly codec: Codec;
  readonly upgrade: UpgradeInfo;
  readonly host: string | undefined;
  /** Pings are WebSocket frames (RFC 6455 §5.5.2), answered by the client's WebSocket library. */
  readonly pingsByFrame: boolean;
  readonly memberships = new Map<string, ConnectionSubscription>();
  /** Commands queued behind an earlier one. */
  readonly waiting: ClientCommand[] = [];
  phase: Phase = PHASE.handshake;
  /** Undefined before the client is authenticated. */
  quota: ClientQuota | undefined = undefined;
  /** Publications, calls and reads without a reply yet. */
  pendingReplies = 0;
  /** Bytes of the publications among them. */
  publishedBytes = 0;
  /** Settles when the last publication that waits for a callback has been published. */
  publishTail: Promise<void> | undefined = undefined;
  /** Commands started in this turn of the event loop, and whether the rest is deferred to a later one. */
  readonly turn = { commands: 0, isYielding: false };
  readonly #bucket: TokenBucket;
  readonly #deadlines: Deadlines;
  #closeCode = 0;
  /** The newest revision of the session that arrived while its check was under way. */
  #revised: ClientIdentity | undefined = undefined;

  constructor(context: ConnectionContext, wire: Wire, id: ClientId, upgrade: UpgradeInfo) {
    super(context, wire, id, upgrade.codec);
    const { clock, limits } = context;
    this.upgrade = upgrade;
    this.host = upgrade.host;
    this.codec = upgrade.codec;
    this.pingsByFrame = upgrade.pingsByFrame ?? false;
    this.#bucket = new TokenBucket(limits.rate, clock.monotonic());
    this.#deadlines = new Deadlines(clock);
    this.#startHandshakeTimeout();
  }

  get identity(): ClientIdentity | undefined {
    return this.phase.is === 'live' ? this.phase.identity : undefined;
  }

  get groups(): readonly string[] {
    return [...this.memberships].flatMap(([name, { is }]) => (is === 'live' ? [name] : []));
  }

  get laggingGroups(): readonly string[] {
    return [...this.memberships].flatMap(([name, one]) =>
      one.is === 'live' && one.subscription.lag !== undefined ? [name] : [],
    );
  }

  get isClosed(): boolean {
    return this.phase.is === 'closed';
  }

  onFrame(frame: string | Buffer): void {
    if (!this.isClosed) this.context.receive(this, frame);
  }

  /** The socket is closed; `code` is that of the peer's close frame, 1006 without one. */
  onClosed(code: number): void {
    if (this.#closeCode !== 0) return;
    this.recordDisconnect(code);
    this.#end(code);
  }

  requestMove(): boolean {
    if (this.phase.is !== 'live' || this.upgrade.canMove !== true) return false;
    this.sendBuffer.post(this.codec.push({ is: 'disconnect', code: CloseCode.Shutdown }));
    return true;
  }

  /** Closes with 3501 for input that violates the protocol; counted by reason. */
  rejectInput(reason: string): void {
    if (this.isClosed) return;
    this.context.metrics.refused(reason);
    this.close(CloseCode.BadRequest);
  }

  reply(reply: CommandReply): void {
    if (this.isClosed) return;
    this.context.metrics.sent('reply');
    this.sendBuffer.post(this.codec.reply(reply));
  }

  /** Counts a pending reply while `work` is under way. */
  untilReplied(work: () => Promise<void>): Promise<void> {
    this.pendingReplies += 1;
    return work().finally(() => {
      this.pendingReplies -= 1;
    });
  }

  /** Sends an error reply; `reason` follows the text of the code. */
  fail(id: number, code: ReplyError, reason?: string): void {
    if (this.isClosed) return;
    this.context.metrics.failed(code);
    this.reply({ id, is: 'error', ...(reason === undefined ? { code } : errorWithReason(code, reason)) });
  }

  /** Sends an error reply with a code of the application. */
  failWithAppError(
    id: number,
    error: { readonly code: number; readonly message: string; readonly temporary: boolean },
  ): void {
    if (this.isClosed) return;
    this.context.metrics.failed('application');
    const { code, message, temporary } = error;
    this.reply({ id, is: 'error', code, message, temporary });
  }

  /** Takes a token of the command rate. False without one; a client that continues regardless is closed. */
  takeCommand(): boolean {
    const { limits, clock, metrics } = this.context;
    if (this.#bucket.take(limits.rate, clock.monotonic())) return true;
    metrics.rateLimited('connection', this.identity);
    if (this.#bucket.rejections > MAX_REJECTIONS) this.close(CloseCode.TooManyRequests);
    return false;
  }

  /** Starts the check of its credential, with a handshake timeout of its own. */
  startConnecting(): void {
    this.phase = PHASE.connecting;
    this.#startHandshakeTimeout();
  }

  /** Answers `connect` with an error; the client may retry over another connection. */
  rejectConnect(id: number, code: ReplyError, reason?: string): void {
    this.phase = PHASE.rejected;
    this.#startHandshakeTimeout();
    this.fail(id, code, reason);
  }

  /** Makes it live: pings start, and the expiry of its credential is scheduled. */
  accept(identity: ClientIdentity, info: ClientInfo): void {
    const { clock, random, limits } = this.context;
    this.#deadlines.startPings(clock.monotonic(), limits.pingIntervalMs * (0.5 + random.fraction() / 2));
    this.updateIdentity(identity, info);
  }

  /** Replaces its identity. A session ends exactly at its expiry; a token may be refreshed for a grace period. */
  updateIdentity(identity: ClientIdentity, info: ClientInfo): void {
    this.phase = { is: 'live', identity, info };
    if (identity.sessionId === undefined) this.#deadlines.refreshAt(identity.expiresAt);
    else this.#deadlines.endSessionAt(identity.expiresAt);
    this.#rearm();
  }

  /** Processes `{}` from the client. */
  pong(): void {
    if (this.#deadlines.isPingOutstanding && !this.pingsByFrame) this.#onPongReceived();
    else this.rejectInput('unsolicited_pong');
  }

  /** Processes a pong frame. RFC 6455 allows unsolicited pongs. */
  onPong(): void {
    if (this.pingsByFrame && this.#deadlines.isPingOutstanding && !this.isClosed) this.#onPongReceived();
  }

  probe(): void {
    const now = this.context.clock.monotonic();
    if (this.phase.is !== 'live' || !this.#deadlines.mayProbe(now)) return;
    this.#ping(now);
    this.#rearm();
  }

  onDue(now: number): void {
    const deadlines = this.#deadlines;
    const isPongLate = deadlines.isPongLate(now, this.context.limits.pongTimeoutMs);
    if (this.phase.is !== 'live') this.#onHandshakeDue(now);
    else if (now >= deadlines.sessionEnd) this.endSession('expired');
    else if (now >= deadlines.refreshBy) this.close(CloseCode.Expired);
    // A client that has not read its ping yet is not silent; the stall detector closes one that reads nothing.
    else if (isPongLate && this.wire.bufferedBytes === 0) {
      this.context.metrics.heartbeatTimeout();
      this.close(CloseCode.NoPong);
    } else {
      if (deadlines.isPingDue(now)) this.#ping(now);
      this.#endExpired(now);
      this.#rearm();
    }
  }

  reviseSession(identity: ClientIdentity): void {
    const { phase } = this;
    if (phase.is === 'connecting') this.#revised = newerRevision(identity, this.#revised);
    if (phase.is !== 'live' || newerRevision(phase.identity, identity) === phase.identity) return;
    if (hasRaisedPrivileges(phase.identity, identity)) {
      this.renewSession(PRIVILEGES_RAISED);
      return;
    }
    this.updateIdentity(identity, phase.info);
    this.reviewPermissions();
  }

  /** Also applies a revision of the session that arrived while the connection was being accepted. */
  reviewPermissions(): void {
    const revised = this.#revised;
    this.#revised = undefined;
    if (revised !== undefined) this.reviseSession(revised);
    this.context.review(this);
  }

  /** Makes the client subscribe again, which shows it whether it missed publications. */
  onInsufficientState(group: GroupName): void {
    // A server-side subscription is opened by `connect` only: the client must reconnect.
    if (this.memberships.get(group)?.isServerSide) this.close(CloseCode.InsufficientState);
    else this.unsubscribe(group, UnsubscribeCode.InsufficientState);
  }

  unsubscribe(group: GroupName, code: UnsubscribeCode): void {
    const membership = this.memberships.get(group);
    if (membership?.is !== 'live') return;
    this.memberships.delete(group);
    this.#deadlines.removeGroup(group);
    this.context.drop(membership.subscription);
    this.sendBuffer.post(this.codec.push({ is: 'unsubscribe', channel: group, code }));
  }

  /** Notifies the client of a server-side subscription, then pushes the recovered publications. */
  pushSubscribed(group: GroupName, { publications = [], ...result }: SubscribeResult): void {
    this.sendBuffer.post(this.codec.push({ is: 'subscribe', channel: group, result }));
    for (const publication of publications) {
      this.sendBuffer.post(this.codec.push({ is: 'publication', channel: group, publication }));
    }
  }

  /** Ends the subscription a grace period after `expiresAt`, in ms since the Unix epoch. */
  expireSubscription(group: GroupName, expiresAt: number): void {
    this.#deadlines.expireGroup(group, expiresAt);
    this.#rearm();
  }

  send(data: Payload): boolean {
    this.sendBuffer.post(this.codec.push({ is: 'message', data }));
    return true;
  }

  refreshFromServer({ expired, expiresAt }: RefreshRequest): boolean {
    const leftMs = expiresAt === undefined ? Number.POSITIVE_INFINITY : expiresAt - this.context.clock.now();
    if (expired || leftMs <= 0) {
      this.close(CloseCode.Expired);
      return true;
    }
    this.#deadlines.refreshAt(expiresAt ?? Number.POSITIVE_INFINITY);
    const ttlS = expiresAt === undefined ? 0 : Math.ceil(leftMs / 1000);
    this.sendBuffer.post(this.codec.push({ is: 'refresh', expires: ttlS > 0, ttlS }));
    this.#rearm();
    return true;
  }

  joinFromServer(request: SubscribeRequest): Promise<boolean> {
    return this.context.join(this, request);
  }

  close(code: CloseCode, reason: string = CLOSE_REASON[code]): void {
    if (this.isClosed) return;
    // Received publications and posted replies precede the close frame, except for a client that does not read.
    if (code !== CloseCode.Slow) this.#flush();
    if (this.isClosed) return;
    this.closeWire(code, reason);
    this.#end(code);
  }

  #flush(): void {
    for (const membership of this.memberships.values()) {
      if (membership.is === 'live') this.context.flush(membership.subscription);
    }
    this.sendBuffer.flush();
  }

  #startHandshakeTimeout(): void {
    const { wheel, clock, limits } = this.context;
    wheel.put(this, clock.monotonic() + limits.handshakeTimeoutMs);
  }

  /** Closes with a final code for the client's own silence only, not for a slow credential check. */
  #onHandshakeDue(now: number): void {
    // After a pause of the process, what the client sent during it is not read yet.
    if (now - this.dueAt > PAUSED_MS) this.#startHandshakeTimeout();
    else this.close(this.phase.is === 'connecting' ? CloseCode.InternalError : CloseCode.Stale);
  }

  #onPongReceived(): void {
    const { clock, metrics } = this.context;
    metrics.heartbeat(this.#deadlines.onAnswered(clock.monotonic()) / 1000);
    this.#rearm();
  }

  #ping(now: number): void {
    this.#deadlines.onPinged(now, this.context.limits.pingIntervalMs);
    this.context.metrics.sent('ping');
    this.sendBuffer.write(this.pingsByFrame ? PING_FRAME : this.codec.pingFrame);
  }

  #endExpired(now: number): void {
    for (const group of this.#deadlines.takeExpired(now)) {
      if (this.isClosed) return;
      if (this.memberships.get(group)?.isServerSide) this.close(CloseCode.SubscriptionExpired);
      else this.unsubscribe(group, UnsubscribeCode.Expired);
    }
  }

  #rearm(): void {
    // Before it is live, the handshake timeout is armed.
    if (this.phase.is !== 'live') return;
    const { limits, clock, wheel } = this.context;
    wheel.put(this, this.#deadlines.next(clock.monotonic(), limits.pongTimeoutMs));
  }

  #end(code: number): void {
    this.#closeCode = code;
    this.retire();
    this.context.leave(this);
    this.phase = PHASE.closed;
    this.waiting.length = 0;
    if (this.isPaused) this.resume();
  }
}
