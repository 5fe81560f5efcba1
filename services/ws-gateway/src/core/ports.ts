import type { Payload } from '@muster/protocol/commands';
import type { SessionGrant } from '@muster/session/grants';
import type { SessionId } from '@muster/session/token';

/** The socket under a connection. Frames are finished bytes; a wire that is closing takes none. */
export interface Wire {
  /** Bytes accepted that the kernel has not taken yet. */
  readonly bufferedBytes: number;
  /** A number that changes whenever the kernel has taken some of them. */
  readonly progress: number;
  /** Writes a finished WebSocket frame. */
  write(frame: Buffer): void;
  /** Sends what is pending, then a close frame. Twice is harmless. */
  close(code: number, reason: string): void;
  /** Drops the socket without a word. */
  terminate(): void;
  /** Stops reading from the peer until {@link resume}. */
  pause(): void;
  resume(): void;
}

/** Who is at the other end. */
export interface ClientIdentity {
  /** Groups, users and presence of one tenant are unknown to every other. */
  readonly tenant: string;
  /** Undefined for whoever came in with a token of the application, or with nothing. */
  readonly sessionId: SessionId | undefined;
  /** As other clients see it: the user id, or a stand-in for a guest; empty for an anonymous client. */
  readonly user: string;
  /** Milliseconds since the Unix epoch; infinite where nothing sets an end. */
  readonly expiresAt: number;
  /** Revision of the session that this was read from. */
  readonly rev?: number;
  /** Authentication level of the session. */
  readonly aal?: number;
  /** Ms since the Unix epoch at which the user last proved who they are; 0 for never. */
  readonly authTime?: number;
  /** What the session may do beyond what its groups allow everybody. */
  readonly grants?: readonly SessionGrant[];
  /** JSON text that others see of each of its connections, as `conn_info`. */
  readonly info?: Payload;
  /** Groups that its connections are put into when they come, by name. */
  readonly subs?: ReadonlyMap<string, ServerSubscription>;
  /** JSON text that the application gave along for its callbacks; clients never see it. */
  readonly meta?: Payload;
  /** The key that its token was signed with, where one of the configuration was; compared by the reader of tokens only. */
  readonly tokenKey?: object;
  /** May do everything everywhere; for development. */
  readonly isUnrestricted?: boolean;
}

/** A subscription that the client did not ask for. What is left out is as the group has it. */
export interface ServerSubscription {
  /** JSON text that others in the group see of the client, as `chan_info`. */
  readonly info?: Payload;
  /** JSON text for the client. */
  readonly data?: Payload;
  /** Milliseconds since the Unix epoch; the connection is closed with 3006 some time after. */
  readonly expiresAt?: number;
  readonly override?: SubscriptionOverride;
}

/** Options of a group that are different for one subscription. */
export interface SubscriptionOverride {
  readonly presence?: boolean;
  readonly joinLeave?: boolean;
  readonly forcePushJoinLeave?: boolean;
  readonly forceRecovery?: boolean;
  readonly forcePositioning?: boolean;
}

/** Whoever must go when a session ends. */
export interface SessionHolder {
  endSession(why: string): void;
  /** Undefined before its check is over. */
  readonly identity?: ClientIdentity | undefined;
  /**
   * A newer revision of the session: its grants replace those that the holder knows. An older one changes nothing; one
   * with raised privileges is a renewal of which nothing was heard.
   */
  reviseSession(identity: ClientIdentity): void;
  /** The session has a new secret and other privileges: whoever came in with the old one comes in again. */
  renewSession(why: string): void;
  /** Asks its client for a sign of life now, unless there was one a moment ago; one that gives none is closed as after any ping. */
  probe?(): void;
  /** True when it needs no session any more: its client has gone. */
  readonly isClosed?: boolean;
}

/** The verdict over a credential. */
export type AuthenticationResult =
  | { readonly ok: true; readonly identity: ClientIdentity }
  /** `fault` is a code for the log; the client is told less. */
  | { readonly ok: false; readonly why: 'invalid'; readonly fault?: string }
  | { readonly ok: false; readonly why: 'ended'; readonly reason: string }
  /** A token that was good once; or one without a user, where clients must have one; or nothing at all. */
  | { readonly ok: false; readonly why: 'expired' | 'no_user' | 'none' }
  /** Its user or its session has as many connections here as it may have. */
  | { readonly ok: false; readonly why: 'limit_reached' }
  /** Nobody could be asked. Never to be confused with `invalid`. */
  | { readonly ok: false; readonly why: 'unavailable' };

/** What a client shows of itself. */
export interface PresentedCredential {
  /** Session tokens, a ticket, or a token of the application; nothing where a client shows nothing. */
  readonly tokens: readonly string[];
  /** `Origin` of the upgrade: a ticket is good for one. */
  readonly origin: string | undefined;
  /** `Host` of the upgrade: sessions of another tenant do not count there. */
  readonly host?: string | undefined;
}

/** Decides who may come in. */
export interface SessionAuthenticator {
  /**
   * Redeems a ticket, or checks the tokens in order (the first that is live decides). The holder hears of the session's
   * end from before the question is asked until {@link release}; after a refusal it is released already.
   */
  authenticate(shown: PresentedCredential, holder: SessionHolder): Promise<AuthenticationResult>;
  /** Looks at another token of somebody who is in by a token; `none` where no such tokens are taken. */
  refresh(token: string, host: string | undefined): Promise<AuthenticationResult>;
  /** Hands a session that was admitted for one holder to another, without a gap. Without a session nothing is held. */
  transfer(id: SessionId | undefined, from: SessionHolder, to: SessionHolder): void;
  release(id: SessionId | undefined, holder: SessionHolder): void;
}

/** What a subscription token says, or why it says nothing. */
export type SubscriptionGrant =
  | {
      readonly ok: true;
      /** Whom it is for; undefined: any user. */
      readonly user: string | undefined;
      /** Of which tenant; undefined: any. */
      readonly tenant?: string;
      /** For which connection; undefined: any. */
      readonly client: string | undefined;
      readonly group: string;
      readonly terms: ServerSubscription;
      /** See {@link ClientIdentity.tokenKey}. */
      readonly tokenKey?: object;
    }
  | { readonly ok: false; readonly why: 'none' | 'expired' | 'invalid' | 'unavailable' };

/** Reads subscription tokens. `none`: there are no keys for them here. Never rejects. */
export interface SubscriptionTokenReader {
  read(token: string): Promise<SubscriptionGrant>;
}

/**
 * What was done about a connection that does not read fast enough: closed, skipped in one group, caught up there, told that
 * it must begin anew because too much of the group is gone, or ended because it reads nothing any more.
 */
export type SlowAction = 'disconnect' | 'lag' | 'caught_up' | 'resync' | 'stalled';

/** Which limit was reached: a rate of a connection or a group, or a quota of a client, or the size of an answer. */
export type GatewayLimitScope =
  | 'connection'
  | 'group'
  | 'session_groups'
  | 'new_groups'
  | 'published_bytes'
  | 'presence'
  | 'batch_answer'
  | 'read_bytes';

/** What the engine counts. Labels come from closed sets only. */
export interface EngineMetrics {
  /** A command or frame that came in. */
  received(type: string): void;
  /** Size of a frame that came in. */
  receivedBytes(bytes: number): void;
  /** Time from a publish call to the hand-over to the sockets here, of some publications. */
  delivered(seconds: number): void;
  /** A connection is over; how long there was one. */
  lived(seconds: number): void;
  /** Time in which a client that came back was brought up to date, or told that it cannot be. */
  recoveryTook(seconds: number): void;
  /** A refusal of malformed or excessive input, by reason. */
  refused(reason: string): void;
  /** An error reply, by code; `application` for codes that are not ours. */
  failed(code: number | 'application'): void;
  /** Publications written to sockets: one observation per publication and group. */
  fannedOut(recipients: number, bytes: number): void;
  /** Frames to single connections: replies, pings. */
  sent(type: string): void;
  published(result: 'ok' | 'error', seconds: number): void;
  disconnected(initiator: 'client' | 'server' | 'network', code: number): void;
  slowConsumer(action: SlowAction): void;
  /** A command or publication above a limit, and whose it was. */
  rateLimited(scope: GatewayLimitScope, identity?: ClientIdentity): void;
  heartbeat(seconds: number): void;
  heartbeatTimeout(): void;
  /** A hole between what the bus brought and the stream. */
  gap(outcome: 'repaired' | 'lost'): void;
  /** A client came back: with everything it missed, or not. */
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
  /** A client of which the kernel takes nothing for so long, while something waits, is gone. */
  readonly writeTimeoutMs: number;
  /** Bytes of one message from a client; a frame may hold several. */
  readonly maxMessageBytes: number;
  readonly maxSendBufferBytes: number;
  /** Bytes of one publication, or of other data that is sent to clients. */
  readonly maxPublicationBytes: number;
  readonly maxSubscriptions: number;
  /** Clients in one answer to `presence`; 0 for no limit. */
  readonly maxPresenceClients: number;
  /** Bytes of the answers to one `batch` of a back end. */
  readonly maxBatchAnswerBytes: number;
  /** Commands of one client, pongs and `connect` apart. */
  readonly rate: Rate;
}

/** What tells users of all tenants apart. The name of a tenant cannot hold a line break, so no two users share one. */
export const userKeyOf = ({ tenant, user }: Pick<ClientIdentity, 'tenant' | 'user'>): string =>
  `${tenant}\n${user}`;
