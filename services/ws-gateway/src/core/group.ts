import type { BusMessage } from '@muster/bus/envelope';
import type { GroupPosition } from '@muster/bus/position';
import type { ClientId, GroupName } from '@muster/protocol/ids';
import type { ClientInfo } from '@muster/protocol/replies';
import type { TagsFilter } from '@muster/protocol/tags-filter';
import type { Follower } from './follower.ts';
import type { Gather } from './gather.ts';
import { type Encoding, groupFrames } from './group-frames.ts';
import type { Outbox } from './outbox.ts';
import type { Identity } from './ports.ts';
import { tagsOf } from './tags.ts';

/** Who is in a group. */
export interface Member {
  readonly id: ClientId;
  readonly identity: Identity | undefined;
  readonly outbox: Outbox;
  /** Publications of this group are gone for good: the member must begin anew, and say so to its application. */
  onInsufficientState(group: GroupName): void;
  /** It does not read fast enough, and its group does not wait for it. */
  onSlow(): void;
}

/** How a member appears to others. */
export interface Who {
  readonly client: ClientId;
  readonly info: ClientInfo;
  /** Shown in presence. */
  readonly isPresent: boolean;
  /** Announced by join and leave. */
  readonly isAnnounced: boolean;
}

/** One connection's membership of one group. */
export class Subscription {
  readonly group: Group;
  readonly encoding: Encoding;
  readonly member: Member;
  readonly isPositioned: boolean;
  /** Whether it is told who comes and goes. */
  readonly hearsJoinLeave: boolean;
  /** What others see of the member while it is there. */
  readonly who: Who | undefined;
  /** Which publications it wants; undefined for all. */
  readonly filter: TagsFilter | undefined;
  /** Whether it is skipped while it does not read fast enough, and caught up later, rather than closed. */
  readonly mayLag: boolean;
  /** Up to where it has everything, while it lags. */
  lag: GroupPosition | undefined = undefined;
  /** Place in the group's list; −1 while the group does not deliver to it (not yet, or no more). */
  place = -1;

  constructor(
    group: Group,
    options: Pick<
      Subscription,
      'encoding' | 'member' | 'isPositioned' | 'hearsJoinLeave' | 'who' | 'filter' | 'mayLag'
    >,
  ) {
    this.group = group;
    this.encoding = options.encoding;
    this.member = options.member;
    this.isPositioned = options.isPositioned;
    this.hearsJoinLeave = options.hearsJoinLeave;
    this.who = options.who;
    this.filter = options.filter;
    this.mayLag = options.mayLag;
  }

  /** The group delivers to it. */
  get isLive(): boolean {
    return this.place >= 0;
  }

  /** It is in the group: live, or behind and being caught up. */
  get isMember(): boolean {
    return this.place >= 0 || this.lag !== undefined;
  }
}

/** A fan-out that is too large for one turn of the event loop. */
export interface Delivery {
  readonly frame: Buffer;
  /** The first message in the frame. */
  readonly first: BusMessage;
  readonly to: readonly Subscription[];
  /** Index of the next subscription to serve. */
  next: number;
}

const NOTHING = Buffer.alloc(0);
/** Sockets served in one go. */
const SLICE = 256;
/** Bytes that a group gathers at most before it writes. */
const MAX_GATHERED_BYTES = 65_536;
const ENCODINGS = ['json', 'protobuf', 'plain'] as const;

/** The local members of one group. Members lie in packed arrays by encoding: a publication is encoded once per encoding. */
export class Group {
  readonly name: GroupName;
  /** Resolves when the bus delivers this group here, and its position is known. */
  readonly ready: Promise<void>;
  /** Present when publications are kept. */
  readonly follower: Follower | undefined;
  /** Joining and live members; the group is dropped when it falls to 0. */
  holds = 0;
  readonly #members: Record<Encoding, Subscription[]> = { json: [], protobuf: [], plain: [] };
  /** Members that want some publications only. */
  readonly #choosy: Subscription[] = [];
  readonly #backlog: Delivery[] = [];
  /** Members that are skipped until they have been caught up. */
  readonly #lagging = new Set<Subscription>();
  readonly #onLag: (subscription: Subscription) => void;
  /** Publications that wait for each other. */
  #gathered: BusMessage[] = [];
  #gatheredBytes = 0;
  /** Monotonic time of the last write. */
  #writtenAt = Number.NEGATIVE_INFINITY;

  constructor(
    name: GroupName,
    ready: Promise<void>,
    follower: Follower | undefined,
    onLag: (subscription: Subscription) => void,
  ) {
    this.name = name;
    this.ready = ready;
    this.follower = follower;
    this.#onLag = onLag;
  }

  /** Members that rely on positions. */
  positioned(): Subscription[] {
    const { json, protobuf } = this.#members;
    const all = [...json, ...protobuf, ...this.#choosy, ...this.#lagging];
    return all.filter(({ isPositioned }) => isPositioned);
  }

  get size(): number {
    const { json, protobuf, plain } = this.#members;
    return json.length + protobuf.length + plain.length + this.#choosy.length + this.#lagging.size;
  }

  /** From now on delivers to this subscription. */
  add(subscription: Subscription): void {
    // What was gathered before is not for a member that begins behind it.
    this.flush();
    const members = this.#listOf(subscription);
    subscription.place = members.length;
    members.push(subscription);
  }

  /** From now on delivers nothing to it, not even what is under way. */
  remove(subscription: Subscription): void {
    subscription.lag = undefined;
    if (this.#lagging.delete(subscription)) return;
    this.#takeOut(subscription);
  }

  /**
   * A member that has caught up goes live again. False while a fan-out is under way that it was part of, for it would get
   * that twice.
   */
  rejoin(subscription: Subscription): boolean {
    if (this.#backlog.length > 0) return false;
    this.remove(subscription);
    this.add(subscription);
    return true;
  }

  /** The bytes of some publications for one member, without those that are not for it; empty when that leaves none. */
  frameFor({ member, filter, encoding }: Subscription, messages: readonly BusMessage[]): Buffer {
    const wanted = messages.filter(({ body, notes }) => {
      const excluded = notes.length > 0 && isExcluded(new Set(notes), member);
      return !excluded && (filter === undefined || filter(tagsOf(body.toString())));
    });
    return wanted.length === 0 ? NOTHING : groupFrames[encoding](wanted);
  }

  #takeOut(subscription: Subscription): void {
    const { place } = subscription;
    if (place < 0) return;
    const members = this.#listOf(subscription);
    const last = members.pop();
    if (last !== undefined && last !== subscription) {
      members[place] = last;
      last.place = place;
    }
    subscription.place = -1;
  }

  #listOf({ encoding, filter }: Subscription): Subscription[] {
    return filter === undefined ? this.#members[encoding] : this.#choosy;
  }

  /** Writes a message to all members, or starts to, or lets it wait for others. True when {@link proceed} has more to do. */
  deliver(message: BusMessage, gather: Gather): boolean {
    if (this.#choosy.length > 0) this.#writeToChoosy(message);
    if (message.kind !== 'publication' || message.notes.length > 0) {
      this.flush();
      return this.#write([message], choice(message));
    }
    if (gather.windowMs === 0) return this.#write([message], everybody);
    const now = gather.now();
    if (this.#gathered.length > 0 || now - this.#writtenAt < gather.windowMs) {
      this.#gathered.push(message);
      this.#gatheredBytes += message.body.length;
      if (this.#gatheredBytes > MAX_GATHERED_BYTES) return this.flush();
      if (this.#gathered.length === 1) gather.later(this);
      return this.#backlog.length > 0;
    }
    this.#writtenAt = now;
    return this.#write([message], everybody);
  }

  /** Writes what was gathered. True when {@link proceed} has more to do. */
  flush(now = this.#writtenAt): boolean {
    const messages = this.#gathered;
    if (messages.length === 0) return this.#backlog.length > 0;
    this.#gathered = [];
    this.#gatheredBytes = 0;
    this.#writtenAt = now;
    return this.#write(messages, everybody);
  }

  #write(messages: readonly BusMessage[], some: Choice): boolean {
    for (const encoding of ENCODINGS) {
      const members = some(this.#members[encoding]);
      if (members.length === 0) continue;
      const frame = groupFrames[encoding](messages);
      if (frame.length > 0) this.#start(frame, messages, members);
    }
    return this.#backlog.length > 0;
  }

  /** What one of them gets differs from what others get, so nothing is gathered for them. */
  #writeToChoosy(message: BusMessage): void {
    const tags = message.kind === 'publication' ? tagsOf(message.body.toString()) : undefined;
    const members = choice(message)(this.#choosy);
    for (const encoding of ENCODINGS) {
      const wanted = members.filter(
        (one) => one.encoding === encoding && (tags === undefined || one.filter?.(tags)),
      );
      if (wanted.length > 0) this.#start(groupFrames[encoding]([message]), [message], wanted);
    }
  }

  #start(frame: Buffer, [first]: readonly BusMessage[], members: readonly Subscription[]): void {
    if (first === undefined) return;
    if (members.length > SLICE || this.#backlog.length > 0) {
      this.#backlog.push({ frame, first, to: members.slice(), next: 0 });
      return;
    }
    // Backwards: a member that is too slow leaves, and the last one takes its place.
    for (let place = members.length - 1; place >= 0; place--) {
      const subscription = members[place];
      if (subscription?.member.outbox.offer(frame) === false) this.#onFull(subscription, first);
    }
  }

  /** A member cannot take a frame that begins with this message. What is not kept is not made up for. */
  #onFull(subscription: Subscription, { kind, offset, epoch }: BusMessage): void {
    if (!subscription.mayLag || this.follower === undefined) subscription.member.onSlow();
    else if (kind === 'publication' && offset > 0) {
      this.#takeOut(subscription);
      subscription.lag = { offset: offset - 1, epoch };
      this.#lagging.add(subscription);
      this.#onLag(subscription);
    }
  }

  /** Serves one slice of what is under way. True when more is left. */
  proceed(): boolean {
    const delivery = this.#backlog[0];
    if (delivery === undefined) return false;
    const end = Math.min(delivery.next + SLICE, delivery.to.length);
    for (let index = delivery.next; index < end; index++) {
      const subscription = delivery.to[index];
      if (!subscription?.isLive) continue;
      if (!subscription.member.outbox.offer(delivery.frame)) this.#onFull(subscription, delivery.first);
    }
    delivery.next = end;
    if (end === delivery.to.length) this.#backlog.shift();
    return this.#backlog.length > 0;
  }
}

type Choice = (members: readonly Subscription[]) => readonly Subscription[];

const everybody: Choice = (members) => members;

/** Who gets a message: publications everybody, but for those left out; join and leave those who listen. */
const choice = ({ kind, notes }: BusMessage): Choice => {
  if (kind !== 'publication') return (members) => members.filter(({ hearsJoinLeave }) => hearsJoinLeave);
  return notes.length === 0 ? everybody : notExcluded(notes);
};

/** Notes such as `not-client=…` and `not-session=…` leave members out. */
const notExcluded = (notes: readonly string[]): Choice => {
  const excluded = new Set(notes);
  return (members) => members.filter(({ member }) => !isExcluded(excluded, member));
};

const isExcluded = (excluded: ReadonlySet<string>, { id, identity }: Member): boolean =>
  excluded.has(`not-client=${id}`) || excluded.has(`not-session=${identity?.sessionId}`);
