import type { CloseCode, ReplyError, UnsubscribeCode } from './codes.ts';
import type { Payload } from './commands.ts';

/** Publisher of a publication, or member of a group. */
export interface ClientInfo {
  /** Empty for an anonymous client. */
  readonly user: string;
  readonly client: string;
  readonly connInfo?: Payload;
  readonly chanInfo?: Payload;
}

/** JSON text of a {@link ClientInfo}. */
export type ClientInfoText = string;

/** A message of a group. */
export interface Publication {
  readonly data: Payload;
  readonly info?: ClientInfo;
  /** Absent in groups without history. */
  readonly offset?: number;
  readonly tags?: Readonly<Record<string, string>>;
  /** Version of the described object, counted by the publisher; 0 for none. */
  readonly version?: number;
  /** `data` is a JSON string of base64 for bytes other than JSON; the text is marked with `"b64":true`. */
  readonly isBinary?: boolean;
}

/** JSON text of a {@link Publication} as on the wire, offset included. It stays text from stream to socket. */
export type PublicationText = string;

export interface ConnectResult {
  readonly client: string;
  readonly version: string;
  readonly expires?: boolean;
  readonly ttlS?: number;
  readonly data?: Payload;
  readonly subs?: ReadonlyMap<string, SubscribeResult>;
  readonly pingS?: number;
  readonly pong?: boolean;
}

export interface SubscribeResult {
  readonly expires?: boolean;
  readonly ttlS?: number;
  readonly recoverable?: boolean;
  readonly positioned?: boolean;
  readonly epoch?: string;
  readonly offset?: number;
  readonly wasRecovering?: boolean;
  readonly recovered?: boolean;
  readonly publications?: readonly PublicationText[];
  readonly data?: Payload;
  readonly delta?: boolean;
  /** Numeric name of the group on this connection (channel compaction). */
  readonly compactId?: number;
}

export interface HistoryResult {
  readonly publications: readonly PublicationText[];
  readonly epoch: string;
  readonly offset: number;
}

export interface PresenceStatsResult {
  readonly clients: number;
  readonly users: number;
}

export interface RefreshResult {
  readonly client: string;
  readonly version: string;
  readonly expires?: boolean;
  readonly ttlS?: number;
}

export interface SubRefreshResult {
  readonly expires?: boolean;
  readonly ttlS?: number;
}

/** Reply to a command, with its `id`. */
export type CommandReply = { readonly id: number } & (
  | { readonly is: 'error'; readonly code: ReplyError }
  /** Error of the application, 400 to 1999. */
  | { readonly is: 'error'; readonly code: number; readonly message: string; readonly temporary: boolean }
  | { readonly is: 'connect'; readonly result: ConnectResult }
  | { readonly is: 'subscribe'; readonly result: SubscribeResult }
  | { readonly is: 'unsubscribe' }
  | { readonly is: 'publish' }
  | { readonly is: 'presence'; readonly result: ReadonlyMap<string, ClientInfoText> }
  | { readonly is: 'presence_stats'; readonly result: PresenceStatsResult }
  | { readonly is: 'history'; readonly result: HistoryResult }
  | { readonly is: 'rpc'; readonly result: { readonly data?: Payload; readonly isBinary?: boolean } }
  | { readonly is: 'refresh'; readonly result: RefreshResult }
  | { readonly is: 'sub_refresh'; readonly result: SubRefreshResult }
);

/** Push of a gateway, except publications of groups, which are carried as encoded bytes. */
export type Push =
  | { readonly is: 'join' | 'leave'; readonly channel: string; readonly info: ClientInfo }
  | { readonly is: 'unsubscribe'; readonly channel: string; readonly code: UnsubscribeCode }
  | { readonly is: 'subscribe'; readonly channel: string; readonly result: SubscribeResult }
  | { readonly is: 'publication'; readonly channel: string; readonly publication: PublicationText }
  | { readonly is: 'message'; readonly data: Payload }
  /** The client should reconnect: the gateway closes the connection with this code soon. */
  | { readonly is: 'disconnect'; readonly code: CloseCode }
  | { readonly is: 'refresh'; readonly expires: boolean; readonly ttlS: number };
