import type { CloseCode, UnsubscribeCode } from '@muster/protocol/codes';
import type { ClientId, GroupName } from '@muster/protocol/ids';
import type { Identity } from './ports.ts';

/** A connection of either kind, as the rest of the gateway sees it. */
export interface AnyConnection {
  readonly id: ClientId;
  readonly transport: 'websocket' | 'plain';
  /** Undefined before the client has been let in. */
  readonly identity: Identity | undefined;
  /** Groups it is in. */
  readonly groups: readonly string[];
  /** Milliseconds since the Unix epoch. */
  readonly since: number;
  /** Bytes that wait for the client. */
  readonly lagBytes: number;
  close(code: CloseCode, reason?: string): void;
  terminate(): void;
  /** Takes it out of a group and tells it so. */
  endMembership(group: GroupName, code: UnsubscribeCode): void;
}
