import type { GroupPosition } from '@muster/bus/position';
import type { ClientId, GroupName } from '@muster/protocol/ids';
import type { ClientInfo } from '@muster/protocol/replies';
import type { TagsFilter } from '@muster/protocol/tags-filter';
import type { ClientQuota } from '../connection/client-quotas.ts';
import type { SendBuffer } from '../connection/send-buffer.ts';
import type { ClientIdentity } from '../ports.ts';
import type { LocalGroup } from './group.ts';
import { type Encoding, type Form, formOf } from './group-frames.ts';

/** Who is in a group. */
export interface Subscriber {
  readonly id: ClientId;
  readonly identity: ClientIdentity | undefined;
  readonly sendBuffer: SendBuffer;
  readonly isOver: boolean;
  readonly quota: ClientQuota | undefined;
  /** It does not read fast enough. */
  onSlow(): void;
  /** Publications of this group are gone for good: the member must begin anew, and say so to its application. */
  onInsufficientState(group: GroupName): void;
}

/** How a member appears to others. */
export interface PresenceInfo {
  readonly client: ClientId;
  readonly info: ClientInfo;
  /** Shown in presence. */
  readonly isPresent: boolean;
  /** Announced by join and leave. */
  readonly isAnnounced: boolean;
}

/** How a member wants to be served. */
export interface DeliveryOptions {
  readonly encoding: Encoding;
  /** The group is named by its number in what the member gets. */
  readonly isCompact?: boolean;
  /** Whether it relies on positions. */
  readonly isPositioned: boolean;
  /** Whether it is told who comes and goes. */
  readonly hearsJoinLeave: boolean;
  /** Deltas instead of whole payloads: of all publications, or of those that were published so. Not with a filter. */
  readonly deltas?: 'all' | 'marked' | undefined;
  /** Which publications it wants; left out for all. */
  readonly filter?: TagsFilter | undefined;
  /** A member that does not read fast enough is skipped and caught up later, not closed. */
  readonly mayLag?: boolean;
}

/** One connection's membership of one group. */
export class Subscription {
  readonly group: LocalGroup;
  readonly member: Subscriber;
  /** What others see of the member while it is there. */
  readonly who: PresenceInfo | undefined;
  readonly form: Form;
  readonly isPositioned: boolean;
  /** Ends when the right to see who is there is taken away. */
  hearsJoinLeave: boolean;
  readonly deltas: 'all' | 'marked' | undefined;
  readonly filter: TagsFilter | undefined;
  readonly mayLag: boolean;
  /** Set while the member is skipped: up to here it has got everything. */
  lag: GroupPosition | undefined = undefined;
  /** The list in which the group keeps it, and the place there; −1 while the group does not deliver to it (not yet, or no more). */
  list: Subscription[] | undefined = undefined;
  place = -1;

  constructor(
    group: LocalGroup,
    member: Subscriber,
    service: DeliveryOptions,
    who: PresenceInfo | undefined,
  ) {
    this.group = group;
    this.member = member;
    this.who = who;
    this.form = formOf(service.encoding, service.isCompact ?? false);
    this.isPositioned = service.isPositioned;
    this.hearsJoinLeave = service.hearsJoinLeave;
    this.deltas = service.deltas;
    this.filter = service.filter;
    this.mayLag = service.mayLag ?? false;
  }

  get isLive(): boolean {
    return this.place >= 0;
  }

  /** Live, or behind and being caught up. */
  get isMember(): boolean {
    return this.isLive || this.lag !== undefined;
  }

  /** Puts it at the end of a list. */
  enter(list: Subscription[]): void {
    this.list = list;
    this.place = list.length;
    list.push(this);
  }

  /** Takes it out of its list; the last one there takes its place. */
  exit(): void {
    const { list, place } = this;
    if (list === undefined) return;
    const last = list.pop();
    if (last !== undefined && last !== this) {
      list[place] = last;
      last.place = place;
    }
    this.list = undefined;
    this.place = -1;
  }
}
