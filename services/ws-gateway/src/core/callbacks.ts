import { CLOSE_REASON, type CloseCode, ReplyError } from '@muster/protocol/codes';
import type { Payload } from '@muster/protocol/commands';
import type { ClientId, GroupName } from '@muster/protocol/ids';
import type { Connection } from './connection/connection.ts';
import type { ClientIdentity, ServerSubscription } from './ports.ts';

/** Callbacks of the application. */
export const CALLBACKS = ['subscribe', 'publish', 'rpc'] as const;
export type CallbackKind = (typeof CALLBACKS)[number];

/** The client that a callback is about. */
export interface Caller {
  readonly client: ClientId;
  readonly identity: ClientIdentity;
  readonly encoding: 'json' | 'protobuf';
}

/** Result of a callback. `unavailable`: no answer, or an invalid one. */
export type CallbackAnswer<T> =
  | { readonly is: 'result'; readonly result: T }
  | { readonly is: 'error'; readonly code: number; readonly message: string; readonly temporary: boolean }
  | { readonly is: 'disconnect'; readonly code: number; readonly reason: string }
  | { readonly is: 'unavailable' };

/** A payload; `isBinary`: base64 of bytes that are not JSON. */
export interface CallbackData {
  readonly data?: Payload;
  readonly isBinary?: boolean;
}

/** Changes to a publication before it is published. */
export interface PublishDecision extends CallbackData {
  readonly skipHistory: boolean;
}

/** Calls callbacks of the application for commands of clients. No method rejects. */
export interface AppCallbacks {
  /** True when the callback has a URL. */
  has(kind: CallbackKind): boolean;
  subscribe(
    caller: Caller,
    request: CallbackData & { readonly group: GroupName },
  ): Promise<CallbackAnswer<ServerSubscription>>;
  publish(
    caller: Caller,
    request: CallbackData & { readonly group: GroupName },
  ): Promise<CallbackAnswer<PublishDecision>>;
  /** For a call of the server API the caller is a tenant. */
  rpc(
    caller: Caller | { readonly tenant: string },
    request: CallbackData & { readonly method: string },
  ): Promise<CallbackAnswer<CallbackData>>;
}

/** No callbacks configured. */
export const noCallbacks: AppCallbacks = {
  has: () => false,
  subscribe: async () => ({ is: 'unavailable' }),
  publish: async () => ({ is: 'unavailable' }),
  rpc: async () => ({ is: 'unavailable' }),
};

/** Answers a command with the error or disconnect of the application. */
export const replyWithAppError = (
  connection: Connection,
  id: number,
  answer: Exclude<CallbackAnswer<unknown>, { is: 'result' }>,
): void => {
  if (answer.is === 'unavailable') connection.fail(id, ReplyError.Internal);
  else if (answer.is === 'error') connection.failWithAppError(id, answer);
  else connection.close(answer.code as CloseCode, answer.reason || CLOSE_REASON[3503]);
};
