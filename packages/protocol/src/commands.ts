/** JSON text of an application's value, passed on unchanged. */
export type Payload = string;

/** Position of a client in the stream of a group. */
export interface StreamPosition {
  readonly offset: number;
  /** Empty when the client has none. */
  readonly epoch: string;
}

/** Recovery request of a subscribe command, or of a `subs` entry of a connect command. */
export interface RecoverRequest extends StreamPosition {
  readonly recover: boolean;
  readonly delta: string;
}

export interface ConnectCommand {
  readonly is: 'connect';
  readonly id: number;
  readonly token: string;
  readonly data?: Payload;
  /** Name and version of the SDK. */
  readonly name: string;
  readonly version: string;
  readonly subs: ReadonlyMap<string, RecoverRequest>;
}

export interface SubscribeCommand extends RecoverRequest {
  readonly is: 'subscribe';
  readonly id: number;
  readonly channel: string;
  readonly token: string;
  readonly data?: Payload;
  readonly positioned: boolean;
  readonly recoverable: boolean;
  readonly joinLeave: boolean;
  /** Bit 1: channel compaction offered. Bit 2: refuse rather than answer "not recovered". */
  readonly flag: number;
  /** 0 is a stream, the only kind this gateway has. */
  readonly type: number;
  /** Tags filter, unparsed. */
  readonly filter?: unknown;
}

export interface UnsubscribeCommand {
  readonly is: 'unsubscribe';
  readonly id: number;
  readonly channel: string;
}

export interface PublishCommand {
  readonly is: 'publish';
  readonly id: number;
  readonly channel: string;
  readonly data?: Payload;
  /** `data` is a JSON string of base64: the client sent bytes other than JSON. */
  readonly isBinary?: true;
  readonly type: number;
}

export interface PresenceCommand {
  readonly is: 'presence' | 'presence_stats';
  readonly id: number;
  readonly channel: string;
}

export interface HistoryCommand {
  readonly is: 'history';
  readonly id: number;
  readonly channel: string;
  /** 0: only the position. Negative: all there is. */
  readonly limit: number;
  readonly since?: StreamPosition;
  readonly reverse: boolean;
}

export interface RpcCommand {
  readonly is: 'rpc';
  readonly id: number;
  readonly method: string;
  readonly data?: Payload;
  /** `data` is a JSON string of base64: the client sent bytes other than JSON. */
  readonly isBinary?: true;
}

export interface SendCommand {
  readonly is: 'send';
  readonly id: number;
  readonly data?: Payload;
}

export interface RefreshCommand {
  readonly is: 'refresh';
  readonly id: number;
  readonly token: string;
}

export interface SubRefreshCommand {
  readonly is: 'sub_refresh';
  readonly id: number;
  readonly channel: string;
  readonly token: string;
}

/** `{}`: the answer to a ping. */
export interface PongCommand {
  readonly is: 'pong';
  readonly id: 0;
}

/** Unknown method, or the unused method `ping`. */
export interface UnknownCommand {
  readonly is: 'unknown';
  readonly id: number;
}

/** Decoded command of a client; the types of all fields are checked. */
export type ClientCommand =
  | ConnectCommand
  | SubscribeCommand
  | UnsubscribeCommand
  | PublishCommand
  | PresenceCommand
  | HistoryCommand
  | RpcCommand
  | SendCommand
  | RefreshCommand
  | SubRefreshCommand
  | PongCommand
  | UnknownCommand;

/** Reason why a frame is malformed; a metric label. */
export type Malformation = 'empty' | 'not_json' | 'not_object' | 'bad_field';

/** Commands of a frame in order, or the reason why it is malformed. */
export type DecodedFrame =
  | { readonly ok: true; readonly commands: readonly ClientCommand[] }
  | { readonly ok: false; readonly why: Malformation };
