import type { ReplyError, UnsubscribeCode } from './codes.ts';
import type { Payload } from './commands.ts';

/** Who published, joined or is present. */
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
  /** Version of what the publication describes, as its publisher counts; 0 for none. */
  readonly version?: number;
  /** `data` is a JSON string of base64 and stands for bytes that are no JSON; the text says so by `"b64":true`. */
  readonly isBinary?: boolean;
}

/** JSON text of a {@link Publication} as the wire has it, offset included. Kept as text from stream to socket. */
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

/** The answer to one command, `id` being the command's. */
export type CommandReply = { readonly id: number } & (
  | { readonly is: 'error'; readonly code: ReplyError }
  /** An error of the application's own, 400 to 1999. */
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

/** What a gateway says unasked, publications apart (they are carried as finished bytes). */
export type Push =
  | { readonly is: 'join' | 'leave'; readonly channel: string; readonly info: ClientInfo }
  | { readonly is: 'unsubscribe'; readonly channel: string; readonly code: UnsubscribeCode }
  | { readonly is: 'subscribe'; readonly channel: string; readonly result: SubscribeResult }
  | { readonly is: 'publication'; readonly channel: string; readonly publication: PublicationText }
  | { readonly is: 'message'; readonly data: Payload }
  | { readonly is: 'refresh'; readonly expires: boolean; readonly ttlS: number };
