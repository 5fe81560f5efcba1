import type { Bus, BusHandlers } from '@muster/bus/bus';
import { type GroupKey, groupKeyOf, groupNameOf } from '@muster/bus/group-key';
import type { Presence } from '@muster/bus/presence';
import type { Clock } from '@muster/kit/clock';
import type { Logger } from '@muster/kit/logger';
import type { Random } from '@muster/kit/runtime';
import { CloseCode } from '@muster/protocol/codes';
import type { ClientId } from '@muster/protocol/ids';
import { type ControlCommand, createControlCommands } from './api/control-commands.ts';
import { createServerApi } from './api/server-api.ts';
import type { AppCallbacks } from './callbacks.ts';
import type { AnyConnection, UpgradeInfo } from './connection/any-connection.ts';
import { createClientQuotas } from './connection/client-quotas.ts';
import { Connection, type ConnectionContext } from './connection/connection.ts';
import { createDispatcher } from './connection/dispatcher.ts';
import { PlainConnection, type PlainConnectionTarget, type PlainContext } from './connection/plain-connection.ts';
import { createGroupRates } from './connection/rate-limit.ts';
import { createStallDetector } from './connection/stall-detector.ts';
import { createTicks, TimerWheel } from './connection/timer-wheel.ts';
import { createHub, type Hub, presenceInfoOf } from './group/hub.ts';
import { createConnect } from './handlers/connect.ts';
import { createHistory } from './handlers/history.ts';
import { createPresence } from './handlers/presence.ts';
import { createPublish } from './handlers/publish.ts';
import { createRefresh } from './handlers/refresh.ts';
import { createRpc } from './handlers/rpc.ts';
import { createSubRefresh } from './handlers/sub-refresh.ts';
import { createSubscribe } from './handlers/subscribe.ts';
import { createUnsubscribe } from './handlers/unsubscribe.ts';
import type { Namespaces } from './namespaces.ts';
import { createPermissionReview, type PermissionReviewDeps } from './permission-review.ts';
import { isAllowed } from './permissions.ts';
import type {
  ConnectionLimits,
  EngineMetrics,
  SessionAuthenticator,
  SessionHolder,
  SubscriptionTokenReader,
  Wire,
} from './ports.ts';
import { BY_SERVER, createServerSubscriptions } from './server-subscriptions.ts';

export interface EngineDeps extends Pick<PermissionReviewDeps, 'isTokenKeyValid' | 'isTenantHost'> {
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Logger;
  /** Opens the bus. Called once; the handlers are called only after it has returned. */
  connectBus(handlers: BusHandlers): Bus;
  readonly presence: Presence;
  readonly authenticator: SessionAuthenticator;
  readonly subscriptionTokens: SubscriptionTokenReader;
  readonly callbacks: AppCallbacks;
  readonly namespaces: Namespaces;
  readonly metrics: EngineMetrics;
  readonly limits: ConnectionLimits;
  readonly publishBatchWindowMs: number;
  /** Prefix of the personal group of each user; undefined: no personal groups. */
  readonly personalGroups: string | undefined;
  /** Instance name, sent to clients. */
  readonly gateway: string;
  readonly version: string;
  newClientId(): ClientId;
}

/** Milliseconds between two calls of {@link GatewayEngine.tick}. */
export const TICK_MS = 100;
const WHEEL_SLOTS = 1024;

/** The gateway without its sockets and stores: connections, groups, commands and the server API. */
export const createEngine = (deps: EngineDeps) => {
  const { clock, limits, authenticator, namespaces, log } = deps;
  const parts = createParts(deps, {
    onMessage: (key, message) => hub.onMessage(key, message),
    onLost: () => {
      for (const follower of hub.followers()) follower.markUnverified();
    },
    onReconnected: (isSameServer) => {
      if (isSameServer) for (const follower of hub.followers()) follower.markVerified();
      void checkPositions();
    },
    onQuery: async (command) => runControlCommand(command as ControlCommand),
  });
  const { bus, hub, wheel, ticks, connections, plainConnections, quotas, review, stallDetector } = parts;
  const context = protocolContext(deps, parts);
  const plainContext = plainContextOf(deps, parts);
  function* all(): Iterable<AnyConnection> {
    yield* connections;
    yield* plainConnections;
  }
  const node = { now: clock.now, startedAt: clock.now() };
  const runControlCommand = createControlCommands({ ...deps, ...node, hub, connections: all });
  const checkPositions = (): Promise<void> =>
    hub.checkPositions().catch((error: unknown) => log.debug({ error }, 'gateway.position_check_failed'));

  return {
    bus,
    /** Adds a protocol connection. */
    open: (wire: Wire, upgrade: UpgradeInfo): Connection => {
      const connection = new Connection(context, wire, deps.newClientId(), upgrade);
      connections.add(connection);
      return connection;
    },
    /** Adds a plain connection, to which `holder` hands over its session. Nothing is read before it is subscribed. */
    openPlain: (wire: Wire, target: PlainConnectionTarget, holder: SessionHolder): PlainConnection => {
      const connection = new PlainConnection(plainContext, wire, deps.newClientId(), target);
      plainConnections.add(connection);
      authenticator.transfer(target.identity.sessionId, holder, connection);
      wire.pause();
      void joinPlain(hub, connection, namespaces).finally(() => wire.resume());
      return connection;
    },
    /** True when the quota of its session has room for the group of a plain connection; else counted and logged. */
    hasQuota: ({ identity, address, group }: PlainConnectionTarget): boolean => {
      const quota = quotas.enter({ ...identity, address });
      const hasRoom = quota.hasRoom();
      const isOpen = (): boolean => hub.groupOf(groupKeyOf(identity.tenant, group)) !== undefined;
      if (hasRoom && (isOpen() || quota.takeNewGroup())) return true;
      deps.metrics.rateLimited(hasRoom ? 'new_groups' : 'session_groups', identity);
      return false;
    },
    /** True when a client may both subscribe to a group and publish in it, as plain clients do. */
    mayUse: plainContext.mayUse,
    /** Reviews the permissions of all connections after a change of group options, token keys or tenant hosts. */
    reviewPermissions: (): Promise<void> => review.reviewAll(all()),
    /** Announces that a client of a crashed replica has left, if the options of the group enable it. */
    onClientGone: (key: GroupKey, info: string): void => {
      if (namespaces.optionsOf(groupNameOf(key))?.joinLeave) hub.announceLeave(key, info);
    },
    /** Compares every group with its stream and repairs those that are behind. Never rejects. */
    checkPositions,
    /** Meets the deadlines of all connections; to be called every {@link TICK_MS}. */
    tick: (): void => {
      const now = clock.monotonic();
      wheel.advance(now);
      hub.catchUp();
      ticks.tick();
      stallDetector.tick(now);
    },
    /** Closes plain connections without a frame for longer than `silenceMs`. */
    sweepPlain: (silenceMs: number): void => {
      for (const connection of plainConnections) connection.sweep(clock.monotonic(), silenceMs);
    },
    connections: all,
    api: createServerApi({ ...deps, bus, hub, maxDataBytes: limits.maxPublicationBytes }, (error) =>
      log.error({ error }, 'gateway.api_failed'),
    ),
    counts: () => ({ connections: connections.size, plain: plainConnections.size, ...hub.counts() }),
  };
};

export type GatewayEngine = ReturnType<typeof createEngine>;

/** Dependencies that the connections of a gateway share. */
const createParts = (deps: EngineDeps, handlers: BusHandlers) => {
  const { clock, limits, metrics } = deps;
  const bus = deps.connectBus(handlers);
  const ticks = createTicks();
  return {
    ...{ bus, ticks },
    hub: createHub({ ...deps, bus, ticks }),
    wheel: new TimerWheel({ tickMs: TICK_MS, slots: WHEEL_SLOTS, now: clock.monotonic() }),
    connections: new Set<Connection>(),
    plainConnections: new Set<PlainConnection>(),
    groupRates: createGroupRates(clock),
    quotas: createClientQuotas(limits, { clock, ticks, metrics }),
    review: createPermissionReview(deps),
    stallDetector: createStallDetector(clock, limits.writeTimeoutMs),
  };
};

type EngineParts = ReturnType<typeof createParts>;

const protocolContext = (deps: EngineDeps, parts: EngineParts): ConnectionContext => {
  const { clock, random, metrics, limits, authenticator, namespaces } = deps;
  const { subscriptionTokens, callbacks, personalGroups } = deps;
  const { bus, hub, wheel, ticks, connections, groupRates, quotas, review, stallDetector } = parts;
  const { maxSubscriptions, maxSendBufferBytes, pingIntervalMs } = limits;
  const subscribing = { hub, namespaces, metrics, maxSubscriptions };
  const serverSubscriptions = createServerSubscriptions({
    ...subscribing,
    personalGroups,
    maxReplyBytes: maxSendBufferBytes,
  });
  const presence = createPresence({ presence: deps.presence, namespaces, metrics, limits });
  const receive = createDispatcher({
    metrics,
    log: deps.log,
    maxMessageBytes: limits.maxMessageBytes,
    handlers: {
      connect: createConnect({ ...deps, quotas, pingIntervalMs, serverSubscriptions }),
      subscribe: createSubscribe({ ...subscribing, clock, subscriptionTokens, callbacks, review }),
      unsubscribe: createUnsubscribe({ hub }),
      publish: createPublish({ hub, namespaces, callbacks, metrics, rates: groupRates }),
      presence,
      presence_stats: presence,
      history: createHistory({ bus, hub, namespaces, metrics, maxBytes: maxSendBufferBytes }),
      rpc: createRpc({ callbacks }),
      refresh: createRefresh(deps),
      sub_refresh: createSubRefresh({ clock, subscriptionTokens }),
    },
  });
  return {
    ...{ clock, random, wheel, limits, metrics, ticks, stallDetector, receive },
    flush: hub.flush,
    drop: hub.leave,
    review: review.reviewSubscriptions,
    join: async (connection, { group, ...request }) => {
      const options = namespaces.optionsOf(group);
      const tenant = connection.identity?.tenant;
      if (options === undefined || tenant === undefined) return false;
      return serverSubscriptions.add(connection, { tenant, group, options, basis: BY_SERVER, ...request });
    },
    leave: (connection) => {
      connections.delete(connection);
      if (connection.quota !== undefined) quotas.leave(connection.quota, connection);
      for (const membership of connection.memberships.values()) {
        if (membership.is === 'live') hub.leave(membership.subscription);
      }
      connection.memberships.clear();
      const { phase } = connection;
      if (phase.is === 'live') authenticator.release(phase.identity.sessionId, connection);
    },
  };
};

const plainContextOf = (deps: EngineDeps, parts: EngineParts): PlainContext => {
  const { clock, limits, metrics, namespaces, authenticator } = deps;
  const { hub, wheel, ticks, plainConnections, groupRates, quotas, stallDetector } = parts;
  return {
    ...{ clock, wheel, hub, limits, metrics, groupRates, quotas, ticks, stallDetector },
    optionsOf: namespaces.optionsOf,
    mayUse: (identity, group) => {
      const options = namespaces.optionsOf(group);
      // The plain endpoint cannot deliver the reply of a publish callback.
      if (options === undefined || options.publishCallback) return false;
      const request = { identity, group, options };
      return (
        isAllowed({ ...request, action: 'subscribe', isSubscribed: false }) &&
        isAllowed({ ...request, action: 'publish', isSubscribed: true })
      );
    },
    leave: (connection) => {
      plainConnections.delete(connection);
      quotas.leave(connection.quota, connection);
      if (connection.subscription !== undefined) hub.leave(connection.subscription);
      authenticator.release(connection.identity.sessionId, connection);
    },
  };
};

const joinPlain = async (hub: Hub, connection: PlainConnection, namespaces: Namespaces): Promise<void> => {
  const options = namespaces.optionsOf(connection.group);
  try {
    await hub.join({
      key: connection.key,
      member: connection,
      retention: options?.retention,
      delivery: {
        encoding: 'plain',
        isPositioned: false,
        receivesJoinLeave: false,
        mayLag: options?.slowPolicy === 'lag',
      },
      presence: options && presenceInfoOf(options, connection.id, connection.info),
      onJoined: (subscription) => {
        // Permissions may have changed since the upgrade was accepted.
        connection.reviewPermissions();
        if (connection.isClosed) return false;
        connection.subscription = subscription;
        return true;
      },
    });
  } catch {
    connection.close(CloseCode.InternalError);
  }
};
