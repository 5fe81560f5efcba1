import {
  CLOSE_REASON,
  CloseCode,
  errorWithReason,
  type ReplyError,
  UnsubscribeCode,
} from '@muster/protocol/codes';
import type { ClientCommand, Payload } from '@muster/protocol/commands';
import type { ClientId, GroupName } from '@muster/protocol/ids';
import type { ClientInfo, CommandReply, SubscribeResult } from '@muster/protocol/replies';
import type { Subscriber } from '../group/subscription.ts';
import type { ClientIdentity, SessionHolder, Wire } from '../ports.ts';
import type { AnyConnection, RefreshRequest, SubscribeRequest } from './any-connection.ts';
import type { ClientQuota } from './client-quotas.ts';
import type { Codec } from './codec.ts';
import type { ConnectionContext } from './connection-context.ts';
import {
  type ConnectionSubscription,
  type Hello,
  isRaised,
  newerOf,
  PHASE,
  type Phase,
  RAISED,
} from './connection-state.ts';
import { Deadlines, EXPIRY_GRACE_MS } from './deadlines.ts';
import { recordDisconnect } from './disconnect-metrics.ts';
import { PING_FRAME } from './frame.ts';
import { MAX_REFUSALS, TokenBucket } from './rate-limit.ts';
import { SendBuffer } from './send-buffer.ts';
import type { TimerEntry } from './timer-wheel.ts';

/** A deadline that is met so much too late was met after a pause of the process. */
const PAUSED_MS = 1_000;

/** One client that speaks the protocol. */
export class Connection implements AnyConnection, TimerEntry, SessionHolder, Subscriber {
  readonly transport = 'websocket';
  readonly since: number;
  readonly id: ClientId;
  readonly sendBuffer: SendBuffer;
  readonly codec: Codec;
  /** Session tokens or a ticket that came with the upgrade, used when `connect` brings none. */
  readonly tokens: readonly string[];
  readonly origin: string | undefined;
  readonly host: string | undefined;
  readonly address: string;
  /** Pings are frames of WebSocket (RFC 6455 §5.5.2), answered below the client's application. */
  readonly pingsByFrame: boolean;
  readonly memberships = new Map<string, ConnectionSubscription>();
  /** Commands that wait for an earlier one. */
  readonly waiting: ClientCommand[] = [];
  phase: Phase = PHASE.greeting;
  /** What its client may use; undefined before the credential was checked. */
  quota: ClientQuota | undefined = undefined;
  /** Publications and calls that are under way and not answered yet. */
  publishing = 0;
  /** Bytes of the publications under way. */
  publishedBytes = 0;
  /** Settles when the last publication that waits for the application has been made. */
  publishTail: Promise<void> | undefined = undefined;
  isPaused = false;
  /** Commands started since it last yielded to other connections, and whether it is yielding. */
  readonly turn = { commands: 0, isYielding: false };
  dueAt = 0;
  wheelSlot = -1;
  wheelPlace = -1;
  readonly #bucket: TokenBucket;
  readonly #context: ConnectionContext;
  readonly #wire: Wire;
  readonly #deadlines = new Deadlines();
  #closeCode = 0;
  /** What was heard of the session while its check was under way. */
  #revised: ClientIdentity | undefined = undefined;

  constructor(context: ConnectionContext, wire: Wire, id: ClientId, hello: Hello) {
    this.#context = context;
    this.#wire = wire;
    this.id = id;
    this.since = context.clock.now();
    this.tokens = hello.tokens;
    this.origin = hello.origin;
    this.host = hello.host;
    this.address = hello.address ?? '';
    this.codec = hello.codec;
    this.pingsByFrame = hello.pingsByFrame ?? false;
    this.sendBuffer = new SendBuffer(
      wire,
      hello.codec,
      context.limits.maxSendBufferBytes,
      this,
      context.ticks,
    );
    this.#bucket = new TokenBucket(context.limits.rate, context.clock.monotonic());
    this.#awaitHandshake();
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

  get lagBytes(): number {
    return this.#wire.bufferedBytes;
  }

  get progress(): number {
    return this.#wire.progress;
  }

  get isOver(): boolean {
    return this.phase.is === 'over';
  }

  onText(frame: string): void {
    if (!this.isOver) this.#context.receive(this, frame);
  }

  onBinary(frame: Buffer): void {
    if (!this.isOver) this.#context.receive(this, frame);
  }

  /** The socket is gone. `code` is what the peer said, 1006 if it said nothing. */
  onClosed(code: number): void {
    if (this.#closeCode !== 0) return;
    recordDisconnect(this.#context.metrics, code);
    this.#end(code);
  }

  /** Input that breaks the protocol: counted by reason, answered with 3501. */
  refuse(reason: string): void {
    if (this.isOver) return;
    this.#context.metrics.refused(reason);
    this.close(CloseCode.BadRequest);
  }

  reply(reply: CommandReply): void {
    if (this.isOver) return;
    this.#context.metrics.sent('reply');
    this.sendBuffer.post(this.codec.reply(reply));
  }

  /** An error reply; `reason` goes behind the text of the code. */
  fail(id: number, code: ReplyError, reason?: string): void {
    if (this.isOver) return;
    this.#context.metrics.failed(code);
    this.reply({ id, is: 'error', ...(reason === undefined ? { code } : errorWithReason(code, reason)) });
  }

  /** An error of the application's own. */
  failAsTold(
    id: number,
    told: { readonly code: number; readonly message: string; readonly temporary: boolean },
  ): void {
    if (this.isOver) return;
    this.#context.metrics.failed('application');
    this.reply({ id, is: 'error', code: told.code, message: told.message, temporary: told.temporary });
  }

  /** Whether one more command fits into the client's rate. Whoever asks on regardless is closed. */
  mayAsk(): boolean {
    const { limits, clock, metrics } = this.#context;
    if (this.#bucket.take(limits.rate, clock.monotonic())) return true;
    metrics.rateLimited('connection', this.identity);
    if (this.#bucket.refusals > MAX_REFUSALS) this.close(CloseCode.TooManyRequests);
    return false;
  }

  /** Its credential is looked at; that has a time of its own, for the client is not silent any more. */
  startConnecting(): void {
    this.phase = PHASE.connecting;
    this.#awaitHandshake();
  }

  /** No way in, but the client may try again with another connection. */
  refuseConnect(id: number, code: ReplyError, reason?: string): void {
    this.phase = PHASE.refused;
    this.#awaitHandshake();
    this.fail(id, code, reason);
  }

  /** Accepted: pings begin, and the end of the session is kept in mind. */
  accept(identity: ClientIdentity, info: ClientInfo): void {
    const { clock, random, limits } = this.#context;
    this.#deadlines.startPings(clock.monotonic(), limits.pingIntervalMs * (0.5 + random.fraction() / 2));
    this.renew(identity, info);
  }

  /** From now on it is who this identity says. The end of a session is at once; a token may be replaced for a while. */
  renew(identity: ClientIdentity, info: ClientInfo): void {
    const { clock } = this.#context;
    this.phase = { is: 'live', identity, info };
    const end = clock.monotonic() + (identity.expiresAt - clock.now());
    if (identity.sessionId === undefined) this.#deadlines.refreshBy = end + EXPIRY_GRACE_MS;
    else this.#deadlines.sessionEnd = end;
    this.#rearm();
  }

  /** `{}` from the client. */
  pong(): void {
    if (this.#deadlines.isPingOutstanding && !this.pingsByFrame) this.#onAnswered();
    else this.refuse('unsolicited_pong');
  }

  /** A pong frame; one that nobody asked for is allowed there. */
  onPong(): void {
    if (this.pingsByFrame && this.#deadlines.isPingOutstanding && !this.isOver) this.#onAnswered();
  }

  probe(): void {
    const now = this.#context.clock.monotonic();
    if (this.phase.is !== 'live' || !this.#deadlines.mayProbe(now)) return;
    this.#ping(now);
    this.#rearm();
  }

  onDue(now: number): void {
    const deadlines = this.#deadlines;
    const isPongLate = deadlines.isPongLate(now, this.#context.limits.pongTimeoutMs);
    if (this.phase.is !== 'live') this.#onHandshakeDue(now);
    else if (now >= deadlines.sessionEnd) this.endSession('expired');
    else if (now >= deadlines.refreshBy) this.close(CloseCode.Expired);
    // A client that has not read its ping yet is not silent; if it reads nothing at all, the stall watch ends it.
    else if (isPongLate && this.#wire.bufferedBytes === 0) {
      this.#context.metrics.heartbeatTimeout();
      this.close(CloseCode.NoPong);
    } else {
      if (deadlines.isPingDue(now)) this.#ping(now);
      this.#endExpired(now);
      this.#rearm();
    }
  }

  renewSession(why: string): void {
    this.close(CloseCode.StateInvalidated, `session renewed: ${why}`);
  }

  reviseSession(identity: ClientIdentity): void {
    const { phase } = this;
    if (phase.is === 'connecting') this.#revised = newerOf(identity, this.#revised);
    if (phase.is !== 'live' || newerOf(phase.identity, identity) === phase.identity) return;
    if (isRaised(phase.identity, identity)) {
      this.renewSession(RAISED);
      return;
    }
    this.renew(identity, phase.info);
    this.reviewRights();
  }

  /** Applies what was heard of the session while the connection was being let in, too. */
  reviewRights(): void {
    const revised = this.#revised;
    this.#revised = undefined;
    if (revised !== undefined) this.reviseSession(revised);
    this.#context.review(this);
  }

  endSession(why: string): void {
    this.close(CloseCode.SessionEnded, `${CLOSE_REASON[CloseCode.SessionEnded]}: ${why}`);
  }

  /** The client is told to begin anew: it subscribes again at once, and learns whether it missed anything. */
  onInsufficientState(group: GroupName): void {
    // It cannot subscribe again by itself to what it did not subscribe to: it connects again.
    if (this.memberships.get(group)?.isServerSide) this.close(CloseCode.InsufficientState);
    else this.endMembership(group, UnsubscribeCode.InsufficientState);
  }

  endMembership(group: GroupName, code: UnsubscribeCode): void {
    const membership = this.memberships.get(group);
    if (membership?.is !== 'live') return;
    this.memberships.delete(group);
    this.#deadlines.forgetGroup(group);
    this.#context.drop(membership.subscription);
    this.sendBuffer.post(this.codec.push({ is: 'unsubscribe', channel: group, code }));
  }

  /** A back end has put it into a group: it is told so, and then what it missed there. */
  tellSubscribed(group: GroupName, { publications = [], ...result }: SubscribeResult): void {
    this.sendBuffer.post(this.codec.push({ is: 'subscribe', channel: group, result }));
    for (const publication of publications) {
      this.sendBuffer.post(this.codec.push({ is: 'publication', channel: group, publication }));
    }
  }

  /** The membership ends some time after `at`, in ms since the Unix epoch. */
  expireMembership(group: GroupName, at: number): void {
    const { clock } = this.#context;
    this.#deadlines.expireGroup(group, clock.monotonic() + (at - clock.now()) + EXPIRY_GRACE_MS);
    this.#rearm();
  }

  tell(data: Payload): boolean {
    this.sendBuffer.post(this.codec.push({ is: 'message', data }));
    return true;
  }

  refreshFromServer({ expired, expiresAt }: RefreshRequest): boolean {
    const { clock } = this.#context;
    const leftMs = expiresAt === undefined ? Number.POSITIVE_INFINITY : expiresAt - clock.now();
    if (expired || leftMs <= 0) {
      this.close(CloseCode.Expired);
      return true;
    }
    this.#deadlines.refreshBy = clock.monotonic() + leftMs + EXPIRY_GRACE_MS;
    const ttlS = expiresAt === undefined ? 0 : Math.ceil(leftMs / 1000);
    this.sendBuffer.post(this.codec.push({ is: 'refresh', expires: ttlS > 0, ttlS }));
    this.#rearm();
    return true;
  }

  joinFromServer(order: SubscribeRequest): Promise<boolean> {
    return this.#context.join(this, order);
  }

  onSlow(): void {
    if (this.isOver) return;
    this.#context.metrics.slowConsumer('disconnect');
    this.close(CloseCode.Slow);
  }

  /** Says good-bye. Twice is harmless: the first reason counts. */
  close(code: CloseCode, reason: string = CLOSE_REASON[code]): void {
    if (this.isOver) return;
    // What was answered already still goes out, but for a client that does not read.
    if (code !== CloseCode.Slow) this.sendBuffer.flush();
    if (this.isOver) return;
    this.#context.metrics.disconnected('server', code);
    this.#wire.close(code, reason);
    this.#end(code);
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

  /** Reads no more from the client until what it asked for is done. */
  pause(): void {
    this.isPaused = true;
    this.#wire.pause();
  }

  resume(): void {
    this.isPaused = false;
    this.#wire.resume();
  }

  #awaitHandshake(): void {
    const { wheel, clock, limits } = this.#context;
    wheel.put(this, clock.monotonic() + limits.handshakeTimeoutMs);
  }

  /** Only the client's own silence is final. A check that takes us too long is not its fault. */
  #onHandshakeDue(now: number): void {
    // After a pause of the process, what the client has sent meanwhile is not read yet.
    if (now - this.dueAt > PAUSED_MS) this.#awaitHandshake();
    else this.close(this.phase.is === 'connecting' ? CloseCode.InternalError : CloseCode.Stale);
  }

  #onAnswered(): void {
    const { clock, metrics } = this.#context;
    metrics.heartbeat(this.#deadlines.onAnswered(clock.monotonic()) / 1000);
    this.#rearm();
  }

  #ping(now: number): void {
    this.#deadlines.onPinged(now, this.#context.limits.pingIntervalMs);
    this.#context.metrics.sent('ping');
    this.sendBuffer.write(this.pingsByFrame ? PING_FRAME : this.codec.pingFrame);
  }

  #endExpired(now: number): void {
    for (const group of this.#deadlines.takeExpired(now)) {
      if (this.isOver) return;
      if (this.memberships.get(group)?.isServerSide) this.close(CloseCode.SubscriptionExpired);
      else this.endMembership(group, UnsubscribeCode.Expired);
    }
  }

  #rearm(): void {
    // Before it is let in, the handshake has a deadline of its own.
    if (this.phase.is !== 'live') return;
    const { limits, clock, wheel } = this.#context;
    wheel.put(this, this.#deadlines.next(clock.monotonic(), limits.pongTimeoutMs));
  }

  #end(code: number): void {
    this.#closeCode = code;
    this.#context.metrics.lived((this.#context.clock.now() - this.since) / 1000);
    this.#context.wheel.remove(this);
    this.#context.leave(this);
    this.phase = PHASE.over;
    this.waiting.length = 0;
    if (this.isPaused) this.resume();
  }
}
