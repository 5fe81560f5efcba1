import type { GroupPosition } from '@muster/bus/position';
import type { ClientId, GroupName } from '@muster/protocol/ids';
import type { ClientInfo } from '@muster/protocol/replies';
import type { TagsFilter } from '@muster/protocol/tags-filter';
import type { ClientQuota } from '../connection/client-quotas.ts';
import type { SendBuffer } from '../connection/send-buffer.ts';
import type { ClientIdentity } from '../ports.ts';
import { type Encoding, type Form, formOf } from './group-frames.ts';
import type { GroupIdentity } from './group-identity.ts';

/** The connection of a subscription. */
export interface SubscriberConnection {
  readonly id: ClientId;
  readonly identity: ClientIdentity | undefined;
  readonly sendBuffer: SendBuffer;
  readonly isClosed: boolean;
  readonly quota: ClientQuota | undefined;
  /** Called when a frame does not fit into its send buffer. */
  onSlow(): void;
  /** Called when publications of the group are lost: the client must subscribe again. */
  onInsufficientState(group: GroupName): void;
}

/** A member as presence and join/leave messages show it. */
export interface PresenceInfo {
  readonly client: ClientId;
  readonly info: ClientInfo;
  /** Listed in presence. */
  readonly isPresent: boolean;
  /** Announced by join and leave messages. */
  readonly isAnnounced: boolean;
}

/** Delivery options of one subscription. */
export interface DeliveryOptions {
  readonly encoding: Encoding;
  /** Frames carry the number of the group in place of its name. */
  readonly isCompact?: boolean;
  /** The client relies on positions: a lost publication ends the subscription. */
  readonly isPositioned: boolean;
  /** Join and leave messages are delivered. */
  readonly receivesJoinLeave: boolean;
  /** Deltas in place of whole payloads: of all publications, or of those marked by their publisher. Not with a filter. */
  readonly deltas?: 'all' | 'marked' | undefined;
  /** Delivers matching publications only; undefined: all. */
  readonly filter?: TagsFilter | undefined;
  /** A slow consumer is skipped and caught up later instead of closed. */
  readonly mayLag?: boolean;
}

/** One connection's subscription to one group. */
export class Subscription {
  readonly group: GroupIdentity;
  readonly member: SubscriberConnection;
  readonly presence: PresenceInfo | undefined;
  readonly form: Form;
  readonly isPositioned: boolean;
  /** Becomes false when the permission to see presence is revoked. */
  receivesJoinLeave: boolean;
  readonly deltas: 'all' | 'marked' | undefined;
  readonly filter: TagsFilter | undefined;
  readonly mayLag: boolean;
  /** Set while the member is skipped: the last position that it has received. */
  lag: GroupPosition | undefined = undefined;
  /** The list in which the group keeps it, and its index there; −1 while the group does not deliver to it. */
  list: Subscription[] | undefined = undefined;
  index = -1;

  constructor(
    group: GroupIdentity,
    member: SubscriberConnection,
    options: DeliveryOptions,
    presence: PresenceInfo | undefined,
  ) {
    this.group = group;
    this.member = member;
    this.presence = presence;
    this.form = formOf(options.encoding, options.isCompact ?? false);
    this.isPositioned = options.isPositioned;
    this.receivesJoinLeave = options.receivesJoinLeave;
    this.deltas = options.deltas;
    this.filter = options.filter;
    this.mayLag = options.mayLag ?? false;
  }

  get isLive(): boolean {
    return this.index >= 0;
  }

  /** Live, or lagging and being caught up. */
  get isMember(): boolean {
    return this.isLive || this.lag !== undefined;
  }

  /** Appends it to a list. */
  enter(list: Subscription[]): void {
    this.list = list;
    this.index = list.length;
    list.push(this);
  }

  /** Removes it from its list in constant time: the last entry takes its index. */
  exit(): void {
    const { list, index } = this;
    if (list === undefined) return;
    const last = list.pop();
    if (last !== undefined && last !== this) {
      list[index] = last;
      last.index = index;
    }
    this.list = undefined;
    this.index = -1;
  }
}
