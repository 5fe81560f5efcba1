import type { BusMessage } from '@muster/bus/envelope';
import { type GroupKey, groupNameOf } from '@muster/bus/group-key';
import type { GroupName } from '@muster/protocol/ids';
import type { PublishBatching } from './batching.ts';
import { DeltaSubscribers } from './delta-subscribers.ts';
import { FORMS, type Form, groupFrames } from './group-frames.ts';
import type { StreamFollower } from './stream-follower.ts';
import type { Subscriber, Subscription } from './subscription.ts';
import { tagsOf } from './tags.ts';

/** A fan-out that is too large for one turn of the event loop. */
export interface Delivery {
  readonly frame: Buffer;
  /** The first message in the frame that is kept; if none is, the first. */
  readonly first: BusMessage;
  readonly to: readonly Subscription[];
  /** Index of the next subscription to serve. */
  next: number;
}

/** What a group lives on. */
export interface GroupDeps {
  /** Resolves when the bus delivers this group here, and its position is known. */
  readonly ready: Promise<void>;
  /** Present when publications are kept. */
  readonly follower: StreamFollower | undefined;
  /** A member has fallen behind and is skipped. */
  onLag(subscription: Subscription): void;
}

const NOTHING = Buffer.alloc(0);
/** Sockets served in one go. */
const SLICE = 256;
/** Bytes that a group gathers at most before it writes. */
const MAX_GATHERED_BYTES = 65_536;

/** The local members of one group. Members lie in packed arrays by form: a publication is encoded once per form. */
export class LocalGroup {
  /** What the gateway and the bus know it by. */
  readonly key: GroupKey;
  /** What its clients know it by. */
  readonly name: GroupName;
  /** Number of the group on this gateway, from 1. */
  readonly id: number;
  readonly ready: GroupDeps['ready'];
  readonly follower: GroupDeps['follower'];
  /** Joining and live members; the group is dropped when it falls to 0. */
  holds = 0;
  readonly #members: Readonly<Record<Form, Subscription[]>> = {
    json: [],
    'json-id': [],
    protobuf: [],
    'protobuf-id': [],
    plain: [],
  };
  /** Members that want deltas; undefined while there was none. */
  #deltas: DeltaSubscribers | undefined = undefined;
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

  constructor(key: GroupKey, id: number, deps: GroupDeps) {
    this.key = key;
    this.name = groupNameOf(key);
    this.id = id;
    this.ready = deps.ready;
    this.follower = deps.follower;
    this.#onLag = deps.onLag;
  }

  /** Members that rely on positions. */
  positioned(): Subscription[] {
    return this.#all().filter(({ isPositioned }) => isPositioned);
  }

  /** Whether much waits for a member that would be closed if more did. */
  get isCongested(): boolean {
    return this.#all().some(
      ({ mayLag, member: { sendBuffer: outbox } }) => !mayLag && outbox.waitingBytes > outbox.maxBytes / 2,
    );
  }

  get size(): number {
    const members = FORMS.reduce((sum, form) => sum + this.#members[form].length, 0);
    return members + this.#choosy.length + this.#lagging.size + (this.#deltas?.size ?? 0);
  }

  /** From now on delivers to this subscription. */
  add(subscription: Subscription): void {
    // What was gathered before is not for a member that begins behind it.
    this.flush();
    if (subscription.deltas !== undefined) {
      this.#deltas ??= new DeltaSubscribers(this);
      this.#deltas.add(subscription);
    } else if (subscription.filter === undefined) subscription.enter(this.#members[subscription.form]);
    else subscription.enter(this.#choosy);
  }

  /** From now on delivers nothing to it, not even what is under way. */
  remove(subscription: Subscription): void {
    subscription.exit();
    subscription.lag = undefined;
    this.#lagging.delete(subscription);
  }

  /** Delivers again to a member that was behind and has got everything. False while older frames are still under way. */
  rejoin(subscription: Subscription): boolean {
    this.flush();
    if (this.#backlog.length > 0) return false;
    this.#lagging.delete(subscription);
    subscription.lag = undefined;
    this.add(subscription);
    return true;
  }

  /** What of these publications is for one member that catches up, as one frame; empty for nothing. Payloads are whole. */
  frameFor(subscription: Subscription, messages: readonly BusMessage[]): Buffer {
    const wanted = messages.filter((message) => isFor(subscription, message));
    if (wanted.length === 0) return NOTHING;
    const deltas = subscription.deltas === undefined ? undefined : this.#deltas;
    return deltas?.wholeFrame(subscription.form, wanted) ?? groupFrames[subscription.form](wanted, this);
  }

  #all(): Subscription[] {
    const deltas = this.#deltas;
    return [
      ...FORMS.flatMap((form) => [...this.#members[form], ...(deltas?.membersOf(form) ?? [])]),
      ...this.#choosy,
      ...this.#lagging,
    ];
  }

  /** Writes a message to all members, or starts to, or lets it wait for others. True when {@link proceed} has more to do. */
  deliver(message: BusMessage, gather: PublishBatching): boolean {
    if (this.#choosy.length > 0) this.#writeToChoosy(message);
    if (message.kind !== 'publication' || message.notes.some(isExclusion)) {
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
    for (const form of FORMS) {
      const members = some(this.#members[form]);
      if (members.length > 0) this.#start(groupFrames[form](messages, this), messages, members);
    }
    if (this.#deltas !== undefined) this.#writeToDeltas(this.#deltas, messages, some);
    return this.#backlog.length > 0;
  }

  #writeToDeltas(deltas: DeltaSubscribers, messages: readonly BusMessage[], some: Choice): void {
    const isPublication = messages[0]?.kind === 'publication';
    if (isPublication) {
      deltas.write(messages, some, (frame, members) => this.#start(frame, messages, members));
      return;
    }
    for (const form of FORMS) {
      const members = some(deltas.membersOf(form));
      if (members.length > 0) this.#start(groupFrames[form](messages, this), messages, members);
    }
  }

  /** What one of them gets differs from what others get, so nothing is gathered for them. */
  #writeToChoosy(message: BusMessage): void {
    const tags = message.kind === 'publication' ? tagsOf(message.body.toString()) : undefined;
    const members = choice(message)(this.#choosy);
    for (const form of FORMS) {
      const wanted = members.filter((one) => one.form === form && (tags === undefined || one.filter?.(tags)));
      if (wanted.length > 0) this.#start(groupFrames[form]([message], this), [message], wanted);
    }
  }

  #start(frame: Buffer, messages: readonly BusMessage[], members: readonly Subscription[]): void {
    // A frame may hold some that are not kept before one that is.
    const first = messages.find(({ offset }) => offset > 0) ?? messages[0];
    if (first === undefined || frame.length === 0) return;
    if (members.length > SLICE || this.#backlog.length > 0) {
      this.#backlog.push({ frame, first, to: members.slice(), next: 0 });
      return;
    }
    // Backwards: a member that is too slow leaves, and the last one takes its place.
    for (let place = members.length - 1; place >= 0; place--) {
      const subscription = members[place];
      if (subscription?.member.sendBuffer.offer(frame) === false) this.#onFull(subscription, first);
    }
  }

  /** A member cannot take a frame that begins with this message. What is not kept is not made up for. */
  #onFull(subscription: Subscription, { kind, offset, epoch }: BusMessage): void {
    // What waits for an answer of ours is not the client's fault.
    const { isHolding } = subscription.member.sendBuffer;
    if (this.follower === undefined || !(subscription.mayLag || isHolding)) {
      if (!isHolding) subscription.member.onSlow();
    } else if (kind === 'publication' && offset > 0) {
      subscription.exit();
      subscription.lag = { offset: offset - 1, epoch };
      this.#lagging.add(subscription);
      this.#onLag(subscription);
    } else if (kind === 'publication' && subscription.deltas !== undefined) {
      // The next publication would be a delta of this one.
      subscription.member.onInsufficientState(this.name);
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
      if (!subscription.member.sendBuffer.offer(delivery.frame)) this.#onFull(subscription, delivery.first);
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
  return notes.some(isExclusion) ? notExcluded(notes) : everybody;
};

/** Whether one member would have got this publication. */
const isFor = (subscription: Subscription, message: BusMessage): boolean =>
  choice(message)([subscription]).length > 0 &&
  (subscription.filter === undefined || subscription.filter(tagsOf(message.body.toString())));

const isExclusion = (note: string): boolean => note.startsWith('not-');

/** Notes such as `not-client=…` and `not-session=…` leave members out. */
const notExcluded = (notes: readonly string[]): Choice => {
  const excluded = new Set(notes);
  return (members) => members.filter(({ member }) => !isExcluded(excluded, member));
};

const isExcluded = (excluded: ReadonlySet<string>, { id, identity }: Subscriber): boolean =>
  excluded.has(`not-client=${id}`) || excluded.has(`not-session=${identity?.sessionId}`);
