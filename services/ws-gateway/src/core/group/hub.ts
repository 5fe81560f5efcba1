import type { Bus } from '@muster/bus/bus';
import type { BusMessage } from '@muster/bus/envelope';
import type { GroupKey } from '@muster/bus/group-key';
import type { Presence } from '@muster/bus/presence';
import type { Appended, StreamPage, StreamRetention } from '@muster/bus/streams';
import type { Clock } from '@muster/kit/clock';
import type { Logger } from '@muster/kit/logger';
import type { StreamPosition } from '@muster/protocol/commands';
import { AppError } from '@muster/protocol/errors';
import type { ClientId } from '@muster/protocol/ids';
import type { ClientInfo } from '@muster/protocol/replies';
import type { Ticks } from '../connection/ticks.ts';
import type { GroupOptions } from '../namespaces.ts';
import type { ConnectionLimits, EngineMetrics } from '../ports.ts';
import { createPublishBatching } from './batching.ts';
import { createFanoutScheduler } from './fanout-scheduler.ts';
import type { LocalGroup } from './group.ts';
import { createGroupRegistry } from './group-registry.ts';
import { createLatencyProbe } from './latency-probe.ts';
import { createPositionCheck } from './position-check.ts';
import { createPresenceEvents } from './presence-events.ts';
import { createPublisher, type PublishRequest } from './publisher.ts';
import { bytesOfTexts } from './read-pacing.ts';
import { type PacedReads, Recovery, type RecoveryBudget, type RecoveryStart } from './recovery.ts';
import { createSlowConsumers } from './slow-consumers.ts';
import type { GapOutcome, StreamFollower } from './stream-follower.ts';
import { type DeliveryOptions, type PresenceInfo, type Subscriber, Subscription } from './subscription.ts';

export interface HubDeps {
  readonly bus: Omit<Bus, keyof AsyncDisposable>;
  readonly presence: Pick<Presence, 'add' | 'remove'>;
  readonly clock: Clock;
  readonly log: Logger;
  /** How long messages of a busy group wait for each other, in ms; 0 for not at all. */
  readonly publishBatchWindowMs: number;
  readonly metrics: EngineMetrics;
  readonly limits: Pick<ConnectionLimits, 'maxSendBufferBytes' | 'maxPublicationBytes'>;
  readonly ticks: Ticks;
}

/** Someone who wants to hear a group. */
export interface JoinRequest {
  readonly key: GroupKey;
  readonly member: Subscriber;
  /** Undefined: the group's publications are not kept. */
  readonly retention: StreamRetention | undefined;
  readonly service: DeliveryOptions;
  /** What others see of the member; left out for nothing. */
  readonly who?: PresenceInfo;
  readonly recover?: StreamPosition;
  readonly recoveryMode?: 'stream' | 'cache';
  /** What the answer may hold of what was missed, when several groups share it. */
  readonly budget?: RecoveryBudget;
  /**
   * The membership begins in this very turn; what is written here comes before the first publication. False: the
   * member is gone meanwhile. `start` is there when publications are kept.
   */
  onJoined(subscription: Subscription, start: RecoveryStart | undefined): boolean;
}

/** The groups that have members here, and the way between them and the bus. */
export interface Hub {
  /** Throws {@link AppError} REDIS_UNAVAILABLE when the bus or the stream cannot be reached. */
  join(request: JoinRequest): Promise<void>;
  leave(subscription: Subscription): void;
  /** Gives a publication to the bus; it comes back to local members from there. Throws REDIS_UNAVAILABLE, PAYLOAD_TOO_LARGE. */
  publish(request: PublishRequest): Promise<Appended | undefined>;
  onMessage(key: GroupKey, message: BusMessage): void;
  /** Says for another replica that a client has left; `info` is its description as JSON. */
  announceLeave(key: GroupKey, info: string): void;
  /** Compares every group with its stream, and repairs what is behind. */
  audit(): Promise<void>;
  /** Those of all groups that keep publications. */
  followers(): Iterable<StreamFollower>;
  groups(): Iterable<LocalGroup>;
  groupOf(key: GroupKey): LocalGroup | undefined;
  /** Carries on with members that are behind; to be called every 100 ms or so. */
  catchUp(): void;
  counts(): { readonly groups: number; readonly subscriptions: number; readonly lagging: number };
}

/** Ticks for which a repair waits for members that have much to read. */
const MAX_PACE_TICKS = 20;

export const createHub = (deps: HubDeps): Hub => {
  const { bus, presence, clock, metrics, log, publishBatchWindowMs, limits } = deps;
  const visibility = createPresenceEvents({ bus, presence, log });
  const slicer = createFanoutScheduler(clock);
  let subscriptions = 0;

  const gather = createPublishBatching({ clock, windowMs: publishBatchWindowMs }, (group) => {
    if (group.flush(clock.monotonic())) slicer.add(group);
  });
  const latency = createLatencyProbe({ clock, metrics });
  const deliver = (group: LocalGroup, message: BusMessage): void => {
    metrics.fannedOut(group.size, message.body.length);
    if (group.deliver(message, gather)) slicer.add(group);
    if (message.notes.length > 0) latency.onDelivered(message.notes);
  };
  const { table, laggards, auditor } = followedGroups(deps, deliver);
  const { maxSendBufferBytes: maxReadBytes, maxPublicationBytes: maxBytes } = limits;
  const publish = createPublisher({ bus, clock, log, metrics, maxBytes, mark: latency.mark });

  const begin = (group: LocalGroup, request: JoinRequest, start: RecoveryStart | undefined): void => {
    const { member, service, who } = request;
    const subscription = new Subscription(group, member, service, who);
    if (!request.onJoined(subscription, start)) {
      visibility.vanish(group.key, who);
      table.release(group);
      return;
    }
    group.add(subscription);
    subscriptions += 1;
    visibility.announce(group.key, 'join', who);
  };

  return {
    join: async (request) => {
      if (!bus.isUp()) throw new AppError('REDIS_UNAVAILABLE');
      const group = await table.hold(request.key, request.retention);
      try {
        await visibility.appear(request.key, request.who);
        const begun = clock.monotonic();
        const budget = request.budget ?? { leftBytes: maxReadBytes };
        await enter(group, { ...request, budget }, (start) => begin(group, request, start));
        if (request.recover !== undefined) metrics.recoveryTook((clock.monotonic() - begun) / 1000);
      } catch (error) {
        visibility.vanish(group.key, request.who);
        table.release(group);
        throw error;
      }
    },
    leave: (subscription) => {
      if (!subscription.isMember) return;
      subscriptions -= 1;
      const { group, who } = subscription;
      group.remove(subscription);
      visibility.vanish(group.key, who);
      visibility.announce(group.key, 'leave', who);
      table.release(group);
    },
    publish,
    onMessage: (key, message) => {
      const group = table.get(key);
      if (group === undefined) return;
      if (group.follower !== undefined && message.offset > 0) group.follower.onMessage(message);
      else if (message.kind !== 'clear') deliver(group, message);
    },
    announceLeave: visibility.announceLeave,
    audit: auditor.audit,
    followers: () => followersOf(table.all()),
    groups: table.all,
    groupOf: table.get,
    catchUp: laggards.tick,
    counts: () => ({ groups: table.size(), subscriptions, lagging: laggards.size() }),
  };
};

function* followersOf(groups: Iterable<LocalGroup>): Iterable<StreamFollower> {
  for (const { follower } of groups) if (follower !== undefined) yield follower;
}

/** What others see of a client in a group with these options. */
export const presenceInfoOf = (
  options: Pick<GroupOptions, 'presence' | 'joinLeave'>,
  client: ClientId,
  info: ClientInfo,
): PresenceInfo | undefined =>
  options.presence || options.joinLeave
    ? { client, info, isPresent: options.presence, isAnnounced: options.joinLeave }
    : undefined;

/** The groups, the members of them that are behind, and what finds groups that are. */
const followedGroups = (
  { bus, clock, metrics, log, limits, ticks }: HubDeps,
  deliver: (group: LocalGroup, message: BusMessage) => void,
) => {
  const onFault = (error: unknown): void => log.debug({ error }, 'gateway.recovery_failed');
  const laggards = createSlowConsumers({ clock, metrics, onFault });
  const onGap = (outcome: GapOutcome): void => metrics.gap(outcome);
  const pace = (group: LocalGroup): Promise<void> => uncongested(group, ticks);
  const onStalled = (): void => auditor.retrySoon();
  const events = { deliver, onGap, onFault, onStalled, onLag: laggards.add, pace };
  const table = createGroupRegistry({ bus, clock, maxReadBytes: limits.maxSendBufferBytes, ...events });
  const auditor = createPositionCheck({ bus, groups: table.all, clock });
  return { table, laggards, auditor };
};

const uncongested = async (group: LocalGroup, ticks: Ticks): Promise<void> => {
  for (let waited = 0; waited < MAX_PACE_TICKS && group.isCongested; waited += 1) await ticks.next();
};

const sizeOfPage = (page: StreamPage | undefined): number =>
  bytesOfTexts(page?.entries.map(({ text }) => text) ?? []);

/** Finds where the member starts, and begins in the turn in which that is true. */
const enter = async (
  group: LocalGroup,
  request: JoinRequest & { readonly budget: RecoveryBudget },
  begin: (start: RecoveryStart | undefined) => void,
): Promise<void> => {
  const { recover: wish, recoveryMode: mode = 'stream', budget, member } = request;
  if (group.follower === undefined) {
    begin(undefined);
    return;
  }
  const paced: PacedReads = async (read) => member.quota?.reads.run(member, read, sizeOfPage) ?? read();
  const recovery = new Recovery(group.key, group.follower, { wish, mode, budget, paced });
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
      begin(step.start);
      return;
    }
    // Meanwhile more may be published: then it is read on from where the group stands.
    await member.sendBuffer.room(bytes);
  }
};
