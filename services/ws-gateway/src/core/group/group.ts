import type { BusMessage } from '@muster/bus/envelope';
import { type GroupKey, groupNameOf } from '@muster/bus/group-key';
import type { StreamRetention } from '@muster/bus/streams';
import type { GroupName } from '@muster/protocol/ids';
import type { Ticks } from '../connection/timer-wheel.ts';
import type { EngineMetrics } from '../ports.ts';
import { DeltaSubscribers } from './delta-subscribers.ts';
import type { FanoutScheduler, FanoutTask } from './fanout-scheduler.ts';
import { FORMS, type Form, groupFrames, tagsOf } from './group-frames.ts';
import type { GroupIdentity } from './group-identity.ts';
import { type FollowedGroup, StreamFollower, type StreamFollowerDeps } from './stream-follower.ts';
import type { SubscriberConnection, Subscription } from './subscription.ts';

/** A delivery that is too large for one turn of the event loop. */
export interface Delivery {
  readonly frame: Buffer;
  /** The first retained message in the frame; without one, the first message. */
  readonly first: BusMessage;
  readonly to: readonly Subscription[];
  /** Index of the next subscription to serve. */
  next: number;
}

/** Dependencies that all groups of a gateway share. */
export interface GroupContext {
  readonly scheduler: FanoutScheduler;
  readonly metrics: Pick<EngineMetrics, 'fannedOut'>;
  readonly ticks: Pick<Ticks, 'next'>;
  readonly follower: StreamFollowerDeps;
  /** Called for a delivered message with attributes. */
  onDelivered(attributes: readonly string[]): void;
  /** Called when a member becomes a slow consumer that is skipped. */
  onLag(subscription: Subscription, group: LocalGroup): void;
}

const NO_BYTES = Buffer.alloc(0);
/** Sockets served in one go. */
const SLICE = 256;
/** Bytes of one batch of publications. */
const MAX_BATCH_BYTES = 65_536;
/** Ticks for which a repair waits for congested members. */
const MAX_PACE_TICKS = 20;

/** The local members of one group, in packed arrays by form: a publication is encoded once per form. */
export class LocalGroup implements GroupIdentity, FollowedGroup, FanoutTask {
  readonly key: GroupKey;
  readonly name: GroupName;
  readonly id: number;
  /** Resolves when the bus delivers the group here and its position is known. */
  readonly ready: Promise<void>;
  /** Undefined when publications are not retained. */
  readonly follower: StreamFollower | undefined;
  /** Joining and live members; at 0 the group is closed. */
  holds = 0;
  readonly #context: GroupContext;
  readonly #members: Readonly<Record<Form, Subscription[]>> = {
    json: [],
    'json-id': [],
    protobuf: [],
    'protobuf-id': [],
    plain: [],
  };
  /** Members with deltas; undefined before the first of them. */
  #deltas: DeltaSubscribers | undefined = undefined;
  /** Members with a tags filter. */
  readonly #filtered: Subscription[] = [];
  readonly #backlog: Delivery[] = [];
  /** Slow consumers that are skipped until they are caught up. */
  readonly #lagging = new Set<Subscription>();
  #batch: BusMessage[] = [];
  #batchBytes = 0;
  /** Monotonic time of the last write of a batch. */
  #writtenAt = Number.NEGATIVE_INFINITY;

  constructor(
    { key, id, retention }: { key: GroupKey; id: number; retention: StreamRetention | undefined },
    subscribed: Promise<void>,
    context: GroupContext,
  ) {
    this.key = key;
    this.name = groupNameOf(key);
    this.id = id;
    this.#context = context;
    this.follower = retention && new StreamFollower(this, retention, context.follower);
    this.ready = subscribed.then(() => this.follower?.open());
  }

  get size(): number {
    const members = FORMS.reduce((sum, form) => sum + this.#members[form].length, 0);
    return members + this.#filtered.length + this.#lagging.size + (this.#deltas?.size ?? 0);
  }

  /** Starts delivery to a subscription. */
  add(subscription: Subscription): void {
    // The batch precedes the position of the new member.
    this.flush();
    if (subscription.deltas !== undefined) {
      this.#deltas ??= new DeltaSubscribers(this);
      this.#deltas.add(subscription);
    } else if (subscription.filter === undefined) subscription.enter(this.#members[subscription.form]);
    else subscription.enter(this.#filtered);
  }

  /** Stops delivery to a subscription, including deliveries in progress. */
  remove(subscription: Subscription): void {
    // The batch precedes the end of the subscription.
    this.flush();
    subscription.exit();
    subscription.lag = undefined;
    this.#lagging.delete(subscription);
  }

  /** Resumes delivery to a caught-up member. False while older frames are still being delivered. */
  rejoin(subscription: Subscription): boolean {
    this.flush();
    if (this.#backlog.length > 0) return false;
    this.#lagging.delete(subscription);
    subscription.lag = undefined;
    this.add(subscription);
    return true;
  }

  /** One frame with the publications that this lagging member receives, without deltas; empty for none. */
  frameFor(subscription: Subscription, messages: readonly BusMessage[]): Buffer {
    const wanted = messages.filter((message) => isFor(subscription, message));
    if (wanted.length === 0) return NO_BYTES;
    const deltas = subscription.deltas === undefined ? undefined : this.#deltas;
    return deltas?.wholeFrame(subscription.form, wanted) ?? groupFrames[subscription.form](wanted, this);
  }

  /** Ends the subscriptions that rely on positions: publications are lost. */
  resync(): void {
    for (const { isPositioned, member } of this.#all()) {
      if (isPositioned) member.onInsufficientState(this.name);
    }
  }

  /** Resolves when no member is congested, at the latest after {@link MAX_PACE_TICKS}. */
  async pace(): Promise<void> {
    for (let waited = 0; waited < MAX_PACE_TICKS && this.#isCongested(); waited += 1) await this.#context.ticks.next();
  }

  /** True when a member that would be closed as slow has used half of its send buffer. */
  #isCongested(): boolean {
    return this.#all().some(
      ({ mayLag, member: { sendBuffer } }) => !mayLag && sendBuffer.waitingBytes > sendBuffer.maxBytes / 2,
    );
  }

  #all(): Subscription[] {
    const deltas = this.#deltas;
    return [
      ...FORMS.flatMap((form) => [...this.#members[form], ...(deltas?.membersOf(form) ?? [])]),
      ...this.#filtered,
      ...this.#lagging,
    ];
  }

  /** Delivers a message to all members: at once, or with the messages that follow it within the batching window. */
  deliver(message: BusMessage): void {
    // Closed while the follower was reading.
    if (this.holds === 0) return;
    const { metrics, scheduler, onDelivered } = this.#context;
    const { size } = this;
    metrics.fannedOut(size, message.body.length);
    if (this.#filtered.length > 0) this.#writeToFiltered(message);
    if (!scheduler.isBatching || message.kind !== 'publication' || message.attributes.some(isExclusion)) {
      this.flush();
      this.#write([message], recipientsOf(message));
    } else this.#addToBatch(message, size);
    if (message.attributes.length > 0) onDelivered(message.attributes);
  }

  #addToBatch(message: BusMessage, size: number): void {
    this.#batch.push(message);
    this.#batchBytes += message.body.length;
    if (this.#batchBytes > MAX_BATCH_BYTES) this.flush();
    else if (this.#batch.length === 1) this.#context.scheduler.flushLater(this, size, this.#writtenAt);
  }

  flush(): void {
    const messages = this.#batch;
    if (messages.length === 0) return;
    this.#batch = [];
    this.#batchBytes = 0;
    this.#writtenAt = this.#context.scheduler.now();
    this.#write(messages, all);
  }

  #write(messages: readonly BusMessage[], select: Recipients): void {
    for (const form of FORMS) {
      const members = select(this.#members[form]);
      if (members.length > 0) this.#start(groupFrames[form](messages, this), messages, members);
    }
    if (this.#deltas !== undefined) this.#writeToDeltas(this.#deltas, messages, select);
  }

  #writeToDeltas(deltas: DeltaSubscribers, messages: readonly BusMessage[], select: Recipients): void {
    const isPublication = messages[0]?.kind === 'publication';
    if (isPublication) {
      deltas.write(messages, select, (frame, members) => this.#start(frame, messages, members));
      return;
    }
    for (const form of FORMS) {
      const members = select(deltas.membersOf(form));
      if (members.length > 0) this.#start(groupFrames[form](messages, this), messages, members);
    }
  }

  /** Without batching: the publications that match differ from member to member. */
  #writeToFiltered(message: BusMessage): void {
    const tags = message.kind === 'publication' ? tagsOf(message.body.toString()) : undefined;
    const members = recipientsOf(message)(this.#filtered);
    for (const form of FORMS) {
      const wanted = members.filter((one) => one.form === form && (tags === undefined || one.filter?.(tags)));
      if (wanted.length > 0) this.#start(groupFrames[form]([message], this), [message], wanted);
    }
  }

  #start(frame: Buffer, messages: readonly BusMessage[], members: readonly Subscription[]): void {
    // A frame may hold messages without an offset before one that is retained.
    const first = messages.find(({ offset }) => offset > 0) ?? messages[0];
    if (first === undefined || frame.length === 0) return;
    if (members.length > SLICE || this.#backlog.length > 0) {
      this.#backlog.push({ frame, first, to: members.slice(), next: 0 });
      this.#context.scheduler.proceedLater(this);
      return;
    }
    // Backwards: a slow member leaves the array, and the last member takes its index.
    for (let index = members.length - 1; index >= 0; index--) {
      const subscription = members[index];
      if (subscription?.member.sendBuffer.offer(frame) === false) this.#onFull(subscription, first);
    }
  }

  /** The send buffer of a member is full for a frame that starts with this message. Unretained messages are not repeated. */
  #onFull(subscription: Subscription, { kind, offset, epoch }: BusMessage): void {
    // Frames held back behind one of our own replies are not the client's fault.
    const { isHolding } = subscription.member.sendBuffer;
    if (this.follower === undefined || !(subscription.mayLag || isHolding)) {
      if (!isHolding) subscription.member.onSlow();
    } else if (kind === 'publication' && offset > 0) {
      subscription.exit();
      subscription.lag = { offset: offset - 1, epoch };
      this.#lagging.add(subscription);
      this.#context.onLag(subscription, this);
    } else if (kind === 'publication' && subscription.deltas !== undefined) {
      // The next publication would be a delta of this publication.
      subscription.member.onInsufficientState(this.name);
    }
  }

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

type Recipients = (members: readonly Subscription[]) => readonly Subscription[];

const all: Recipients = (members) => members;

/** Recipients of a message: of a publication all members but those excluded, of join and leave messages their subscribers. */
const recipientsOf = ({ kind, attributes }: BusMessage): Recipients => {
  if (kind !== 'publication') return (members) => members.filter(({ receivesJoinLeave }) => receivesJoinLeave);
  return attributes.some(isExclusion) ? notExcluded(attributes) : all;
};

/** True when the message is for this member. */
const isFor = (subscription: Subscription, message: BusMessage): boolean =>
  recipientsOf(message)([subscription]).length > 0 &&
  (subscription.filter === undefined || subscription.filter(tagsOf(message.body.toString())));

const isExclusion = (attribute: string): boolean => attribute.startsWith('not-');

/** Applies attributes such as `not-client=…` and `not-session=…`. */
const notExcluded = (attributes: readonly string[]): Recipients => {
  const excluded = new Set(attributes);
  const isExcluded = ({ id, identity }: SubscriberConnection): boolean =>
    excluded.has(`not-client=${id}`) || excluded.has(`not-session=${identity?.sessionId}`);
  return (members) => members.filter(({ member }) => !isExcluded(member));
};
