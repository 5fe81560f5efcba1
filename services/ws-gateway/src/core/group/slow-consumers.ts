import type { BusMessage } from '@muster/bus/envelope';
import type { GroupPosition } from '@muster/bus/position';
import { messageOfEntry } from '@muster/bus/publication-encoding';
import type { StreamPage } from '@muster/bus/streams';
import type { Clock } from '@muster/kit/clock';
import type { EngineMetrics } from '../ports.ts';
import type { LocalGroup } from './group.ts';
import type { StreamFollower } from './stream-follower.ts';
import type { Subscription } from './subscription.ts';

export interface SlowConsumersDeps {
  readonly clock: Clock;
  readonly metrics: Pick<EngineMetrics, 'slowConsumer'>;
  /** Called when a stream cannot be read; the next tick retries. */
  onFault(error: unknown): void;
}

/** A slow consumer and its group. */
interface Lagging {
  readonly subscription: Subscription;
  readonly group: LocalGroup;
  readonly follower: StreamFollower;
}

/** Longest time in ms for which a tick occupies the event loop. */
const TICK_BUDGET_MS = 5;
/** Concurrent reads of streams for all slow consumers. */
const MAX_READS = 8;
/** Bytes of one frame with more than one publication. */
const MAX_FRAME_BYTES = 65_536;

/** Members that read too slowly: skipped, and caught up from the retained publications as they read on. */
export const createSlowConsumers = ({ clock, metrics, onFault }: SlowConsumersDeps) => {
  const behind = new Map<Subscription, Lagging>();
  const reading = new Set<Subscription>();

  const lose = ({ subscription, group }: Lagging): void => {
    behind.delete(subscription);
    metrics.slowConsumer('resync');
    subscription.member.onInsufficientState(group.name);
  };

  const onPage = (one: Lagging, page: StreamPage): void => {
    const { group, follower } = one;
    const { lag } = one.subscription;
    if (lag === undefined || !follower.isCurrent) return;
    const messages = page.entries
      .filter(({ offset }) => offset > lag.offset && offset <= follower.position.offset)
      .map((entry) => messageOfEntry(group.key, entry, page.top.epoch));
    if (messages.length === 0 || !give(one, messages)) lose(one);
  };

  const read = (one: Lagging, offset: number): void => {
    const { subscription, follower } = one;
    if (reading.size >= MAX_READS) return;
    reading.add(subscription);
    follower
      .readAfter(offset)
      .finally(() => reading.delete(subscription))
      .then((page) => onPage(one, page))
      // A member that reads fast enough continues without waiting for the next tick.
      .then(() => hasAdvanced(subscription, offset) && step(one))
      .catch(onFault);
  };

  const goLive = ({ subscription, group }: Lagging): void => {
    if (!group.rejoin(subscription)) return;
    behind.delete(subscription);
    metrics.slowConsumer('caught_up');
  };

  /** One step for one member: live again, closer to the group, or resync. */
  const step = (one: Lagging): void => {
    const { subscription, follower } = one;
    const { lag } = subscription;
    if (lag === undefined) behind.delete(subscription);
    else if (follower.isCurrent && canReceiveMore(subscription) && !reading.has(subscription)) advance(one, lag);
  };
  const advance = (one: Lagging, lag: GroupPosition): void => {
    const { offset, epoch } = one.follower.position;
    if (lag.epoch !== epoch || lag.offset > offset) lose(one);
    else if (lag.offset === offset) goLive(one);
    else approach(one, lag);
  };
  const approach = (one: Lagging, lag: GroupPosition): void => {
    const { subscription, follower } = one;
    const recent = follower.recentAfter(lag.offset);
    if (lag.offset < follower.removedThrough) lose(one);
    else if (recent === undefined) read(one, lag.offset);
    else if (!give(one, recent)) lose(one);
    else if (subscription.lag?.offset === follower.position.offset) goLive(one);
  };

  return {
    /** Registers a member that is skipped from its `lag` on. */
    add: (subscription: Subscription, group: LocalGroup): void => {
      metrics.slowConsumer('lag');
      const { follower } = group;
      if (follower !== undefined) behind.set(subscription, { subscription, group, follower });
    },
    /** Writes the next part of what they missed to members with room in their send buffers. */
    tick: (): void => {
      if (behind.size === 0) return;
      const until = clock.monotonic() + TICK_BUDGET_MS;
      for (const [subscription, one] of [...behind]) {
        // Moved to the end: the next tick starts with the members that this tick does not reach.
        behind.delete(subscription);
        behind.set(subscription, one);
        step(one);
        if (clock.monotonic() > until) break;
      }
    },
    size: (): number => behind.size,
  };
};

/** Writes what the member can receive. False when the messages do not continue at its position. */
const give = ({ subscription, group, follower }: Lagging, messages: readonly BusMessage[]): boolean => {
  const { sendBuffer } = subscription.member;
  for (let from = 0; from < messages.length && sendBuffer.waitingBytes <= sendBuffer.maxBytes / 2; ) {
    const { lag } = subscription;
    const part = partOf(messages, from, Math.min(MAX_FRAME_BYTES, sendBuffer.maxBytes / 4));
    const last = part.at(-1);
    // Closed meanwhile, or about to overtake its group.
    if (lag === undefined || last === undefined || last.offset > follower.position.offset) return true;
    if (part[0]?.offset !== lag.offset + 1 || last.epoch !== lag.epoch) return false;
    const frame = group.frameFor(subscription, part);
    if (frame.length > 0 && !sendBuffer.offer(frame)) return true;
    subscription.lag = { offset: last.offset, epoch: last.epoch };
    from += part.length;
  }
  return true;
};

const hasAdvanced = ({ lag }: Subscription, offset: number): boolean => lag !== undefined && lag.offset > offset;

const canReceiveMore = ({ member: { sendBuffer } }: Subscription): boolean =>
  sendBuffer.waitingBytes <= sendBuffer.maxBytes / 4;

/** As many messages as fit into one frame, at least one. */
const partOf = (messages: readonly BusMessage[], from: number, maxBytes: number): readonly BusMessage[] => {
  let bytes = 0;
  let to = from;
  while (to < messages.length) {
    bytes += messages[to]?.body.length ?? 0;
    if (bytes > maxBytes && to > from) break;
    to += 1;
  }
  return messages.slice(from, to);
};
