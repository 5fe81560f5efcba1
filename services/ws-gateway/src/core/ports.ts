import type { Payload } from '@muster/protocol/commands';
import type { SessionGrant } from '@muster/session/grants';
import type { SessionId } from '@muster/session/token';
import type { MaybePromise } from './maybe-promise.ts';

/** Notified by a {@link Wire}. */
export interface WireOwner {
  /** Called when the kernel has not accepted a write in full. */
  onWriteDelayed(): void;
}

/** The socket of a connection. It writes encoded frames; a closing one discards them. */
export interface Wire {
  owner: WireOwner | undefined;
  /** Written bytes that the kernel has not accepted yet. */
  readonly bufferedBytes: number;
  /** Changes whenever the kernel has accepted some of them. */
  readonly progress: number;
  /** Writes an encoded WebSocket frame. */
  write(frame: Buffer): void;
  /** Sends pending bytes, then a close frame. Idempotent. */
  close(code: number, reason: string): void;
  /** Destroys the socket without a close frame. */
  terminate(): void;
  /** Stops reading from the peer until {@link resume}. */
  pause(): void;
  resume(): void;
}

/** The authenticated client of a connection. */
export interface ClientIdentity {
  /** Isolates groups, users and presence. */
  readonly tenant: string;
  /** Undefined for a client with a JSON Web Token, or without a credential. */
  readonly sessionId: SessionId | undefined;
  /** User id for other clients; a generated one for a guest, empty for an anonymous client. */
  readonly user: string;
  /** Milliseconds since the Unix epoch; infinite without an expiry. */
  readonly expiresAt: number;
  /** Revision of the session. */
  readonly rev?: number;
  /** Authentication level of the session. */
  readonly aal?: number;
  /** Time of the last authentication of the user, in ms since the Unix epoch; 0: never. */
  readonly authTime?: number;
  /** Permissions of the session beyond the options of groups. */
  readonly grants?: readonly SessionGrant[];
  /** `conn_info` of each of its connections, as JSON text. */
  readonly info?: Payload;
  /** Server-side subscriptions opened by `connect`, by group name. */
  readonly subs?: ReadonlyMap<string, ServerSubscription>;
  /** JSON text of the application for its callbacks; not sent to clients. */
  readonly meta?: Payload;
  /** The configured key that signed its token; compared by identity. */
  readonly tokenKey?: object;
  /** Every permission in every group; for development. */
  readonly isUnrestricted?: boolean;
  /** Receives the groups of `subs` and may do nothing else: no subscribe, publish, presence, history or RPC. */
  readonly isReceiveOnly?: boolean;
}

/** Terms of a server-side subscription; the options of the group apply to the rest. */
export interface ServerSubscription {
  /** `chan_info` of the client in the group, as JSON text. */
  readonly info?: Payload;
  /** JSON text sent to the client. */
  readonly data?: Payload;
  /** Milliseconds since the Unix epoch; a grace period later the connection is closed with 3006. */
  readonly expiresAt?: number;
  readonly override?: SubscriptionOverride;
}

/** Options of the group overridden for one subscription. */
export interface SubscriptionOverride {
  readonly presence?: boolean;
  readonly joinLeave?: boolean;
  readonly forcePushJoinLeave?: boolean;
  readonly forceRecovery?: boolean;
  readonly forcePositioning?: boolean;
}

/** A connection, or an upgrade in progress, that ends with its session. */
export interface SessionHolder {
  endSession(why: string): void;
  /** Undefined until its credential is checked. */
  readonly identity?: ClientIdentity | undefined;
  /**
   * Applies the grants of a newer revision of the session; an older one is ignored. Raised privileges are a renewal whose event was
   * missed.
   */
  reviseSession(identity: ClientIdentity): void;
  /** The session has a new secret and other privileges: the client must authenticate again. */
  renewSession(why: string): void;
  /** Pings the client now, unless it was active within the last second; without a pong the connection is closed. */
  probe?(): void;
  /** True once the client has disconnected. */
  readonly isClosed?: boolean;
}

/** Result of a credential check. */
export type AuthenticationResult =
  | { readonly ok: true; readonly identity: ClientIdentity }
  /** `fault` is a code for the log, not for the client. */
  | { readonly ok: false; readonly why: 'invalid'; readonly fault?: string }
  | { readonly ok: false; readonly why: 'ended'; readonly reason: string }
  /** An expired token; a token without a user where one is required; no credential. */
  | { readonly ok: false; readonly why: 'expired' | 'no_user' | 'none' }
  /** Its user or session has reached its connection limit. */
  | { readonly ok: false; readonly why: 'limit_reached' }
  /** No store could be queried; the credential may be valid or not. */
  | { readonly ok: false; readonly why: 'unavailable' };

/** The credential of a client and where it was presented. */
export interface PresentedCredential {
  /** Session tokens, a ticket, or a JSON Web Token; empty without a credential. */
  readonly tokens: readonly string[];
  /** `Origin` of the upgrade; a ticket is bound to one. */
  readonly origin: string | undefined;
  /** `Host` of the upgrade; sessions of other tenants are unknown there. */
  readonly host?: string | undefined;
}

/** Authenticates connections. */
export interface SessionAuthenticator {
  /**
   * Redeems a ticket, or checks the tokens in order; the first live one decides. The holder is notified of the session's end from
   * before the check until {@link release}; after a rejection it is released already. Without a promise where no store is needed.
   */
  authenticate(shown: PresentedCredential, holder: SessionHolder): MaybePromise<AuthenticationResult>;
  /** Checks a further token of a client with a token; `none` where tokens are not configured. */
  refresh(token: string, host: string | undefined): Promise<AuthenticationResult>;
  /**
   * Hands the session of an authenticated holder over to another holder, without a gap. No effect without a session.
   */
  transfer(id: SessionId | undefined, from: SessionHolder, to: SessionHolder): void;
  release(id: SessionId | undefined, holder: SessionHolder): void;
}

/** Claims of a subscription token, or why it was rejected. */
export type SubscriptionGrant =
  | {
      readonly ok: true;
      /** Undefined: any user. */
      readonly user: string | undefined;
      /** Undefined: any tenant. */
      readonly tenant?: string;
      /** Client id; undefined: any connection. */
      readonly client: string | undefined;
      readonly group: string;
      readonly terms: ServerSubscription;
      /** See {@link ClientIdentity.tokenKey}. */
      readonly tokenKey?: object;
    }
  | { readonly ok: false; readonly why: 'none' | 'expired' | 'invalid' | 'unavailable' };

/** Reads subscription tokens. `none`: no keys are configured. Never rejects. */
export interface SubscriptionTokenReader {
  read(token: string): Promise<SubscriptionGrant>;
}

/**
 * Action on a slow consumer: closed, skipped in one group, caught up there, made to subscribe again because publications are no
 * longer retained, or closed because it reads nothing.
 */
export type SlowAction = 'disconnect' | 'lag' | 'caught_up' | 'resync' | 'stalled';

/** Limit that was reached: a rate of a connection or group, a quota of a client, or the size of a reply. */
export type GatewayLimitScope =
  | 'connection'
  | 'group'
  | 'session_groups'
  | 'new_groups'
  | 'published_bytes'
  | 'presence'
  | 'batch_answer'
  | 'read_bytes';

/** Metrics of the engine. Label values come from closed sets. */
export interface EngineMetrics {
  /** A command or frame from a client. */
  received(type: string): void;
  /** Size of a frame from a client. */
  receivedBytes(bytes: number): void;
  /** Latency from publish to delivery on this gateway, sampled. */
  delivered(seconds: number): void;
  /** Duration of a closed connection. */
  lived(seconds: number): void;
  /** Duration of a recovery, successful or not. */
  recoveryTook(seconds: number): void;
  /** A rejection of malformed or excessive input, by reason. */
  refused(reason: string): void;
  /** An error reply, by code; `application` for codes of the application. */
  failed(code: number | 'application'): void;
  /** A delivery: one observation per publication and group. */
  fannedOut(recipients: number, bytes: number): void;
  /** A frame for a single connection: reply, ping. */
  sent(type: string): void;
  published(result: 'ok' | 'error', seconds: number): void;
  disconnected(initiator: 'client' | 'server' | 'network', code: number): void;
  slowConsumer(action: SlowAction): void;
  /** A command or publication above a limit, and its client. */
  rateLimited(scope: GatewayLimitScope, identity?: ClientIdentity): void;
  heartbeat(seconds: number): void;
  heartbeatTimeout(): void;
  /** A gap between delivered publications and the stream. */
  gap(outcome: 'repaired' | 'lost'): void;
  /** A recovery of a client, complete or not. */
  recovered(result: 'complete' | 'resync', publications: number): void;
}

/** A rate limit: a steady rate, and a burst after inactivity. */
export interface Rate {
  /** Tokens per second; 0: unlimited. */
  readonly perSecond: number;
  readonly burst: number;
}

/** Quotas of one session, or one user with a token, over all its connections to this gateway. 0: unlimited. */
export interface QuotaLimits {
  /** Subscriptions. */
  readonly maxSubscriptionsPerSession: number;
  /** Groups without a member on this gateway that it opens, per minute and in a burst. */
  readonly maxNewGroupsPerMinute: number;
  /** Bytes of publications per second; a burst of a minute's worth. */
  readonly maxPublishedBytesPerS: number;
  /** Bytes of history read from streams per second; reads above it are delayed. */
  readonly maxReadBytesPerS: number;
}

/** Limits and timeouts of a connection. */
export interface ConnectionLimits extends QuotaLimits {
  readonly pingIntervalMs: number;
  readonly pongTimeoutMs: number;
  readonly handshakeTimeoutMs: number;
  /** A connection is closed when bytes wait and the kernel accepts none for this long. */
  readonly writeTimeoutMs: number;
  /** Bytes of one message from a client; a frame may hold several. */
  readonly maxMessageBytes: number;
  readonly maxSendBufferBytes: number;
  /** Bytes of one publication, or of other data for clients. */
  readonly maxPublicationBytes: number;
  readonly maxSubscriptions: number;
  /** Clients in one `presence` reply; 0: unlimited. */
  readonly maxPresenceClients: number;
  /** Bytes of the results of one `batch` of the server API. */
  readonly maxBatchAnswerBytes: number;
  /** Commands of one connection, without pongs and `connect`. */
  readonly rate: Rate;
}

/** Key of a user over all tenants; unique, because tenant names have no line break. */
export const userKeyOf = ({ tenant, user }: Pick<ClientIdentity, 'tenant' | 'user'>): string => `${tenant}\n${user}`;
