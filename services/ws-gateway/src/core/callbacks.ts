import { CLOSE_REASON, type CloseCode, ReplyError } from '@muster/protocol/codes';
import type { Payload } from '@muster/protocol/commands';
import type { ClientId, GroupName } from '@muster/protocol/ids';
import type { Connection } from './connection/connection.ts';
import type { ClientIdentity, ServerSubscription } from './ports.ts';

/** What the application can be asked about. */
export const CALLBACKS = ['subscribe', 'publish', 'rpc'] as const;
export type CallbackKind = (typeof CALLBACKS)[number];

/** On whose behalf the application is asked. */
export interface Caller {
  readonly client: ClientId;
  readonly identity: ClientIdentity;
  readonly encoding: 'json' | 'protobuf';
}

/** What the application answered. `unavailable`: it did not, or nothing that can be used. */
export type CallbackAnswer<T> =
  | { readonly is: 'result'; readonly result: T }
  | { readonly is: 'error'; readonly code: number; readonly message: string; readonly temporary: boolean }
  | { readonly is: 'disconnect'; readonly code: number; readonly reason: string }
  | { readonly is: 'unavailable' };

/** A payload, and whether it stands for bytes that are no JSON. */
export interface CallbackData {
  readonly data?: Payload;
  readonly isBinary?: boolean;
}

/** How a publication is changed before it is made. */
export interface PublishDecision extends CallbackData {
  readonly skipHistory: boolean;
}

/** Logic of the application that is asked about what clients do. None of them rejects. */
export interface AppCallbacks {
  /** Whether there is an address for it. */
  has(kind: CallbackKind): boolean;
  subscribe(
    caller: Caller,
    question: CallbackData & { readonly group: GroupName },
  ): Promise<CallbackAnswer<ServerSubscription>>;
  publish(
    caller: Caller,
    question: CallbackData & { readonly group: GroupName },
  ): Promise<CallbackAnswer<PublishDecision>>;
  /** A caller that is a back end has a tenant only. */
  rpc(
    caller: Caller | { readonly tenant: string },
    question: CallbackData & { readonly method: string },
  ): Promise<CallbackAnswer<CallbackData>>;
}

/** An application that wants to be asked nothing. */
export const noCallbacks: AppCallbacks = {
  has: () => false,
  subscribe: async () => ({ is: 'unavailable' }),
  publish: async () => ({ is: 'unavailable' }),
  rpc: async () => ({ is: 'unavailable' }),
};

/** Tells a client what the application has to say to its command when that is no result. */
export const replyWithAppError = (
  connection: Connection,
  id: number,
  answer: Exclude<CallbackAnswer<unknown>, { is: 'result' }>,
): void => {
  switch (answer.is) {
    case 'unavailable':
      connection.fail(id, ReplyError.Internal);
      break;
    case 'error':
      connection.failWithAppError(id, answer);
      break;
    case 'disconnect':
      connection.close(answer.code as CloseCode, answer.reason || CLOSE_REASON[3503]);
      break;
    default:
      answer satisfies never;
  }
};
