import type { BusMessage } from '@muster/bus/envelope';
import type { GroupPosition } from '@muster/bus/position';
import { messageOfEntry } from '@muster/bus/publication-encoding';
import type { StreamPage } from '@muster/bus/streams';
import type { Clock } from '@muster/kit/clock';
import type { EngineMetrics } from '../ports.ts';
import type { StreamFollower } from './stream-follower.ts';
import type { Subscription } from './subscription.ts';

/** Members that do not read fast enough, and are brought up to date with what is kept as they read on. */
export interface SlowConsumers {
  /** A member is skipped from now on, with `lag` where it stands. */
  add(subscription: Subscription): void;
  /** Gives whoever can take more the next part of what it missed. */
  tick(): void;
  size(): number;
}

export interface SlowConsumersDeps {
  readonly clock: Clock;
  readonly metrics: Pick<EngineMetrics, 'slowConsumer'>;
  /** What is kept cannot be read now; it is tried again. */
  onFault(error: unknown): void;
}

/** Longest time in ms that one tick keeps the event loop to itself. */
const BUDGET_MS = 5;
/** Readings of streams at the same time, for all members that are behind. */
const MAX_READS = 8;
/** Bytes in one frame, as long as it holds more than one publication. */
const MAX_FRAME_BYTES = 65_536;

export const createSlowConsumers = ({ clock, metrics, onFault }: SlowConsumersDeps): SlowConsumers => {
  const behind = new Set<Subscription>();
  const reading = new Set<Subscription>();

  const lose = (subscription: Subscription): void => {
    behind.delete(subscription);
    metrics.slowConsumer('resync');
    subscription.member.onInsufficientState(subscription.group.name);
  };

  const onPage = (subscription: Subscription, follower: StreamFollower, page: StreamPage): void => {
    const { lag, group } = subscription;
    if (lag === undefined || !follower.isCurrent) return;
    const messages = page.entries
      .filter(({ offset }) => offset > lag.offset && offset <= follower.position.offset)
      .map((entry) => messageOfEntry(group.key, entry, page.top.epoch));
    if (messages.length === 0 || !give(subscription, follower, messages)) lose(subscription);
  };

  const read = (subscription: Subscription, follower: StreamFollower, offset: number): void => {
    if (reading.size >= MAX_READS) return;
    reading.add(subscription);
    follower
      .readAfter(offset)
      .finally(() => reading.delete(subscription))
      .then((page) => onPage(subscription, follower, page))
      // Who reads as fast as it is read for does not wait for the next tick.
      .then(() => hasAdvanced(subscription, offset) && step(subscription))
      .catch(onFault);
  };

  const goLive = (subscription: Subscription): void => {
    if (!subscription.group.rejoin(subscription)) return;
    behind.delete(subscription);
    metrics.slowConsumer('caught_up');
  };

  /** One step for one member: live again, or further on, or told that it cannot be. */
  const step = (subscription: Subscription): void => {
    const { lag } = subscription;
    const { follower } = subscription.group;
    if (lag === undefined || follower === undefined) behind.delete(subscription);
    else if (follower.isCurrent && canTakeMore(subscription) && !reading.has(subscription)) {
      advance(subscription, follower, lag);
    }
  };
  const advance = (subscription: Subscription, follower: StreamFollower, lag: GroupPosition): void => {
    const { offset, epoch } = follower.position;
    if (lag.epoch !== epoch || lag.offset > offset) lose(subscription);
    else if (lag.offset === offset) goLive(subscription);
    else approach(subscription, follower, lag);
  };
  const approach = (subscription: Subscription, follower: StreamFollower, lag: GroupPosition): void => {
    const near = follower.recentAfter(lag.offset);
    if (lag.offset < follower.removedThrough) lose(subscription);
    else if (near === undefined) read(subscription, follower, lag.offset);
    else if (!give(subscription, follower, near)) lose(subscription);
    else if (subscription.lag?.offset === follower.position.offset) goLive(subscription);
  };

  return {
    add: (subscription) => {
      metrics.slowConsumer('lag');
      behind.add(subscription);
    },
    tick: () => {
      if (behind.size === 0) return;
      const until = clock.monotonic() + BUDGET_MS;
      for (const subscription of [...behind]) {
        // Whoever had a turn goes to the end, so that the next tick begins with those who had none.
        behind.delete(subscription);
        behind.add(subscription);
        step(subscription);
        if (clock.monotonic() > until) break;
      }
    },
    size: () => behind.size,
  };
};

/** Writes what the member can take. False when a publication on its way is not the next one. */
const give = (
  subscription: Subscription,
  follower: StreamFollower,
  messages: readonly BusMessage[],
): boolean => {
  const { sendBuffer: outbox } = subscription.member;
  for (let from = 0; from < messages.length && outbox.waitingBytes <= outbox.maxBytes / 2; ) {
    const { lag } = subscription;
    const part = partOf(messages, from, Math.min(MAX_FRAME_BYTES, outbox.maxBytes / 4));
    const last = part.at(-1);
    // A member that was closed meanwhile, or is not to be ahead of its group.
    if (lag === undefined || last === undefined || last.offset > follower.position.offset) return true;
    if (part[0]?.offset !== lag.offset + 1 || last.epoch !== lag.epoch) return false;
    if (!write(subscription, part)) return true;
    subscription.lag = { offset: last.offset, epoch: last.epoch };
    from += part.length;
  }
  return true;
};

const hasAdvanced = ({ lag }: Subscription, offset: number): boolean =>
  lag !== undefined && lag.offset > offset;

const canTakeMore = ({ member: { sendBuffer: outbox } }: Subscription): boolean =>
  outbox.waitingBytes <= outbox.maxBytes / 4;

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

/** False when the member cannot take it now; one for which nothing waits can. */
const write = (subscription: Subscription, part: readonly BusMessage[]): boolean => {
  const { group, member } = subscription;
  const frame = group.frameFor(subscription, part);
  if (frame.length === 0) return true;
  return member.sendBuffer.offer(frame);
};
