import type { CloseCode, UnsubscribeCode } from '@muster/protocol/codes';
import type { Payload, StreamPosition } from '@muster/protocol/commands';
import type { ClientId, GroupName } from '@muster/protocol/ids';
import type { ClientIdentity, ServerSubscription } from '../ports.ts';

/** A group that a back end puts a client into. Travels as JSON. */
export interface SubscribeRequest {
  readonly group: GroupName;
  readonly terms: ServerSubscription;
  readonly recover?: StreamPosition;
}

/** When a connection is to end, at the word of a back end. Travels as JSON. */
export interface RefreshRequest {
  /** Now. */
  readonly expired: boolean;
  /** Milliseconds since the Unix epoch; undefined for as long as its credential is good. */
  readonly expiresAt?: number;
}

/** A connection of either kind, as the rest of the gateway sees it. */
export interface AnyConnection {
  readonly id: ClientId;
  readonly transport: 'websocket' | 'plain';
  /** Undefined before the client has been let in. */
  readonly identity: ClientIdentity | undefined;
  /** Groups it is in. */
  readonly groups: readonly string[];
  /** Of those, groups in which it is behind and being caught up. */
  readonly laggingGroups: readonly string[];
  /** Milliseconds since the Unix epoch. */
  readonly since: number;
  /** Bytes that wait for the client. */
  readonly lagBytes: number;
  /** A number that changes whenever some of them have gone out. */
  readonly progress: number;
  close(code: CloseCode, reason?: string): void;
  terminate(): void;
  /** Nothing has gone out for too long, though something waits. */
  onStalled(): void;
  /** Puts it into a group and tells it so. False when it is there already, or cannot be. Throws REDIS_UNAVAILABLE. */
  joinFromServer(order: SubscribeRequest): Promise<boolean>;
  /** Gives it data that belongs to no group. False when it cannot take any. */
  tell(data: Payload): boolean;
  /** Sets when it ends; sooner than its credential, never later. */
  refreshFromServer(order: RefreshRequest): boolean;
  /** Decides again what it is in, after grants or options of groups have changed. */
  reviewRights(): void;
  /** `Host` of its upgrade. */
  readonly host: string | undefined;
  /** Takes it out of a group and tells it so. */
  endMembership(group: GroupName, code: UnsubscribeCode): void;
}
