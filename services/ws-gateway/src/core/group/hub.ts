import type { Bus } from '@muster/bus/bus';
import type { GroupKey } from '@muster/bus/group-key';
import type { Presence } from '@muster/bus/presence';
import type { StreamPage, StreamRetention } from '@muster/bus/streams';
import type { Clock } from '@muster/kit/clock';
import type { Logger } from '@muster/kit/logger';
import type { StreamPosition } from '@muster/protocol/commands';
import { AppError } from '@muster/protocol/errors';
import type { ClientId } from '@muster/protocol/ids';
import type { ClientInfo } from '@muster/protocol/replies';
import type { Ticks } from '../connection/timer-wheel.ts';
import type { GroupOptions } from '../namespaces.ts';
import type { ConnectionLimits, EngineMetrics } from '../ports.ts';
import { createFanoutScheduler } from './fanout-scheduler.ts';
import type { LocalGroup } from './group.ts';
import { createGroupRegistry } from './group-registry.ts';
import { createIdlePositionCheck } from './idle-position-check.ts';
import { createPresenceEvents } from './presence-events.ts';
import { createPublisher } from './publisher.ts';
import { Recovery, type RecoveryBudget, type RecoveryStart } from './recovery.ts';
import { createSlowConsumers } from './slow-consumers.ts';
import { bytesOfTexts } from './stream-read-limit.ts';
import { type DeliveryOptions, type PresenceInfo, type SubscriberConnection, Subscription } from './subscription.ts';

export interface HubDeps {
  readonly bus: Omit<Bus, keyof AsyncDisposable>;
  readonly presence: Pick<Presence, 'add' | 'remove'>;
  readonly clock: Clock;
  readonly log: Logger;
  /** Batching window for busy groups, in ms; 0: no batching. */
  readonly publishBatchWindowMs: number;
  readonly metrics: EngineMetrics;
  readonly limits: Pick<ConnectionLimits, 'maxSendBufferBytes' | 'maxPublicationBytes'>;
  readonly ticks: Ticks;
}

/** A subscription to be opened. */
export interface JoinRequest {
  readonly key: GroupKey;
  readonly member: SubscriberConnection;
  /** Undefined: publications are not retained. */
  readonly retention: StreamRetention | undefined;
  readonly delivery: DeliveryOptions;
  /** Undefined: neither presence nor join/leave messages. */
  readonly presence?: PresenceInfo | undefined;
  /** Position from which to recover. */
  readonly recover?: StreamPosition | undefined;
  readonly recoveryMode?: 'stream' | 'cache';
  /** Bytes of recovered publications in the reply, where several groups share it. */
  readonly budget?: RecoveryBudget;
  /**
   * Called in the turn in which the subscription becomes live: what is written here precedes its first publication. Returns
   * false to cancel, such as for a closed connection. `start` is present when publications are retained.
   */
  onJoined(subscription: Subscription, start: RecoveryStart | undefined): boolean;
}

/** The groups with members on this gateway, and their connection with the bus. */
export const createHub = (deps: HubDeps) => {
  const { bus, presence, clock, metrics, log, publishBatchWindowMs, limits, ticks } = deps;
  const presenceEvents = createPresenceEvents({ bus, presence, log });
  const latency = createLatencyProbe({ clock, metrics });
  const onFault = (error: unknown): void => log.debug({ error }, 'gateway.recovery_failed');
  const slowConsumers = createSlowConsumers({ clock, metrics, onFault });
  const { maxSendBufferBytes: maxReadBytes, maxPublicationBytes: maxBytes } = limits;
  const registry = createGroupRegistry({
    ...{ bus, metrics, ticks },
    scheduler: createFanoutScheduler(clock, publishBatchWindowMs),
    onDelivered: latency.onDelivered,
    onLag: slowConsumers.add,
    follower: {
      clock,
      maxReadBytes,
      onGap: (outcome) => metrics.gap(outcome),
      onFault,
      onStalled: () => positionCheck.retrySoon(),
    },
  });
  const positionCheck = createIdlePositionCheck({ bus, registry, clock });
  let subscriptions = 0;

  const goLive = (group: LocalGroup, request: JoinRequest, start: RecoveryStart | undefined): void => {
    const subscription = new Subscription(group, request.member, request.delivery, request.presence);
    if (!request.onJoined(subscription, start)) {
      presenceEvents.remove(group.key, request.presence);
      registry.release(group);
      return;
    }
    group.add(subscription);
    subscriptions += 1;
    presenceEvents.announce(group.key, 'join', request.presence);
  };

  return {
    /** Delivers a message from the bus. */
    onMessage: registry.onMessage,
    /** Subscribes a member. Throws {@link AppError} REDIS_UNAVAILABLE when the bus or the stream cannot be reached. */
    join: async (request: JoinRequest): Promise<void> => {
      if (!bus.isUp()) throw new AppError('REDIS_UNAVAILABLE');
      const group = registry.hold(request.key, request.retention);
      // Presence is written while the channel is subscribed and the position read.
      const listed = presenceEvents.add(request.key, request.presence);
      try {
        await (listed === undefined ? group.ready : Promise.all([group.ready, listed]));
        const startedAt = clock.monotonic();
        const budget = request.budget ?? { leftBytes: maxReadBytes };
        await recover(group, { ...request, budget }, (start) => goLive(group, request, start));
        if (request.recover !== undefined) metrics.recoveryTook((clock.monotonic() - startedAt) / 1000);
      } catch (error) {
        presenceEvents.remove(group.key, request.presence);
        registry.release(group);
        throw error;
      }
    },
    /** Writes the publications that the group has batched for the member. */
    flush: ({ group }: Subscription): void => registry.get(group.key)?.flush(),
    /** Ends a subscription; the second call has no effect. */
    leave: (subscription: Subscription): void => {
      const group = registry.get(subscription.group.key);
      if (!subscription.isMember || group === undefined) return;
      subscriptions -= 1;
      group.remove(subscription);
      presenceEvents.remove(group.key, subscription.presence);
      presenceEvents.announce(group.key, 'leave', subscription.presence);
      registry.release(group);
    },
    /** Publishes over the bus, from which local members receive it too. Throws REDIS_UNAVAILABLE, PAYLOAD_TOO_LARGE. */
    publish: createPublisher({ bus, clock, log, metrics, maxBytes, mark: latency.mark }),
    /** Sends the leave message of a client of a replica that has crashed; `info` is its description as JSON. */
    announceLeave: presenceEvents.announceLeave,
    /** Compares every group with its stream, and repairs those that are behind. */
    checkPositions: positionCheck.run,
    followers: registry.followers,
    groups: registry.all,
    groupOf: registry.get,
    /** Continues the catch-up of slow consumers; to be called on every tick of the engine. */
    catchUp: slowConsumers.tick,
    counts: () => ({ groups: registry.size(), subscriptions, lagging: slowConsumers.size() }),
  };
};

export type Hub = ReturnType<typeof createHub>;

/** Presence of a client in a group with these options; undefined when it is neither listed nor announced. */
export const presenceInfoOf = (
  options: Pick<GroupOptions, 'presence' | 'joinLeave'>,
  client: ClientId,
  info: ClientInfo,
): PresenceInfo | undefined =>
  options.presence || options.joinLeave
    ? { client, info, isPresent: options.presence, isAnnounced: options.joinLeave }
    : undefined;

const sizeOfPage = (page: StreamPage | undefined): number => bytesOfTexts(page?.entries.map(({ text }) => text) ?? []);

/** Brings the member to the position of the group, and goes live in the turn in which it is there. */
const recover = async (
  group: LocalGroup,
  request: JoinRequest & { readonly budget: RecoveryBudget },
  goLive: (start: RecoveryStart | undefined) => void,
): Promise<void> => {
  const { recover: from, recoveryMode: mode = 'stream', budget, member } = request;
  const { follower } = group;
  if (follower === undefined || (from === undefined && follower.isCurrent)) {
    goLive(follower && { position: follower.position });
    return;
  }
  const recovery = new Recovery(group.key, follower, {
    ...{ from, mode, budget },
    paced: async (read) => member.quota?.reads.run(member, read, sizeOfPage) ?? read(),
  });
  for (;;) {
    const step = recovery.next();
    if (!('start' in step)) {
      await step.work;
      continue;
    }
    const missed = step.start.recovery;
    const bytes = missed?.ok ? missed.bytes : 0;
    if (bytes === 0 || member.sendBuffer.hasRoom(bytes)) {
      budget.leftBytes -= bytes;
      goLive(step.start);
      return;
    }
    // The group may advance during the wait: the recovery continues from there.
    await member.sendBuffer.room(bytes);
  }
};

/** One of so many publications carries a timestamp: on each of them it would cost more than the measurement is worth. */
const SAMPLE = 16;
/** Prefix of the attribute with the time of publishing, in ms since the Unix epoch. */
const PUBLISHED_AT = 'at=';

/** Measures the latency from publish on any gateway to delivery here. With clock skew between machines a negative one is 0. */
const createLatencyProbe = ({ clock, metrics }: Pick<HubDeps, 'clock' | 'metrics'>) => {
  let count = 0;
  return {
    /** Adds the timestamp to every sixteenth publication. */
    mark: <T extends { readonly attributes?: readonly string[] }>(request: T): T => {
      count = (count + 1) % SAMPLE;
      if (count !== 1) return request;
      return { ...request, attributes: [...(request.attributes ?? []), `${PUBLISHED_AT}${clock.now()}`] };
    },
    onDelivered: (attributes: readonly string[]): void => {
      const attribute = attributes.find((one) => one.startsWith(PUBLISHED_AT));
      if (attribute === undefined) return;
      metrics.delivered(Math.max(0, clock.now() - Number(attribute.slice(PUBLISHED_AT.length))) / 1000);
    },
  };
};
