import type { BusHandlers } from '@muster/bus/bus';
import { type GroupKey, groupKeyOf, groupNameOf } from '@muster/bus/group-key';
import type { Presence } from '@muster/bus/presence';
import type { Clock } from '@muster/kit/clock';
import type { Logger } from '@muster/kit/logger';
import type { Random } from '@muster/kit/random';
import { CloseCode } from '@muster/protocol/codes';
import type { ClientId, GroupName } from '@muster/protocol/ids';
import { createServerApi, type ServerApi } from './api/api.ts';
import { type ControlCommand, createControlCommands } from './api/control-commands.ts';
import type { AppCallbacks } from './callbacks.ts';
import type { AnyConnection } from './connection/any-connection.ts';
import { type ClientQuotas, createClientQuotas } from './connection/client-quotas.ts';
import { Connection } from './connection/connection.ts';
import type { ConnectionContext } from './connection/connection-context.ts';
import type { Hello } from './connection/connection-state.ts';
import { createDispatcher } from './connection/dispatcher.ts';
import { createGroupRates, type GroupRates } from './connection/group-rates.ts';
import {
  PlainConnection,
  type PlainConnectionTarget,
  type PlainContext,
} from './connection/plain-connection.ts';
import { createStallDetector } from './connection/stall-detector.ts';
import { createTicks, type Ticks } from './connection/ticks.ts';
import { TimerWheel } from './connection/timer-wheel.ts';
import { createHub, type Hub, type HubDeps, presenceInfoOf } from './group/hub.ts';
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
import {
  createPermissionReview,
  type PermissionReview,
  type PermissionReviewDeps,
} from './permission-review.ts';
import { isAllowed } from './permissions.ts';
import type {
  ClientIdentity,
  ConnectionLimits,
  EngineMetrics,
  SessionAuthenticator,
  SessionHolder,
  SubscriptionTokenReader,
  Wire,
} from './ports.ts';
import { BY_SERVER, createServerSubscriptions } from './server-subscriptions.ts';

export interface EngineDeps extends Pick<PermissionReviewDeps, 'isTokenKeyValid' | 'isAtHome'> {
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Logger;
  readonly bus: HubDeps['bus'];
  readonly presence: Presence;
  readonly gate: SessionAuthenticator;
  readonly permits: SubscriptionTokenReader;
  readonly callbacks: AppCallbacks;
  readonly namespaces: Namespaces;
  readonly metrics: EngineMetrics;
  readonly limits: ConnectionLimits;
  readonly publishBatchWindowMs: number;
  /** What the name of a user's own group begins with; undefined: users have none. */
  readonly personalGroups: string | undefined;
  /** Name of this instance, told to clients. */
  readonly gateway: string;
  readonly version: string;
  /** A fresh connection id. */
  newClientId(): ClientId;
}

/** Everything a gateway does that needs neither a socket nor a store. */
export interface GatewayEngine {
  /** A client of the protocol has a socket. */
  open(wire: Wire, hello: Hello): Connection;
  /** A plain client has a socket; `holder` has held its session so far. Nothing is read before it is in its group. */
  openPlain(wire: Wire, place: PlainConnectionTarget, holder: SessionHolder): PlainConnection;
  /** Whether one more group, of a plain client, fits into the quota of its session. Counted and logged when not. */
  hasQuota(place: PlainConnectionTarget): boolean;
  /**
   * Rights have changed that are not those of one session: options of groups, keys of tokens, hosts of tenants. Reviews every
   * connection, pending commands included.
   */
  reviewRights(): Promise<void>;
  /** Whether a session may listen to a group and publish to it, as plain clients do. */
  mayUse(identity: ClientIdentity, group: GroupName): boolean;
  /** What the bus has to say. */
  readonly busHandlers: BusHandlers;
  /** A client of a replica that died is there no more: its group is told, where its options say so. */
  onGhost(key: GroupKey, info: string): void;
  /** Compares every group with its stream and repairs what is behind. Never rejects. */
  audit(): Promise<void>;
  /** Meets the deadlines of all connections; to be called every {@link TICK_MS}. */
  tick(): void;
  /** Closes plain connections that have been silent for longer than `silenceMs`. */
  sweepPlain(silenceMs: number): void;
  connections(): Iterable<AnyConnection>;
  /** What back ends can do. */
  readonly api: ServerApi;
  counts(): EngineCounts;
}

export interface EngineCounts {
  readonly connections: number;
  readonly plain: number;
  readonly groups: number;
  readonly subscriptions: number;
  /** Of those, memberships that are behind and being caught up. */
  readonly lagging: number;
}

/** Milliseconds between two calls of {@link GatewayEngine.tick}. */
export const TICK_MS = 100;
const WHEEL_SLOTS = 1024;

export const createEngine = (deps: EngineDeps): GatewayEngine => {
  const { clock, limits, gate, namespaces } = deps;
  const ticks = createTicks();
  const hub = createHub({ ...deps, ticks });
  const wheel = new TimerWheel({ tickMs: TICK_MS, slots: WHEEL_SLOTS, now: clock.monotonic() });
  const connections = new Set<Connection>();
  const plain = new Set<PlainConnection>();
  const groupRates = createGroupRates(clock);
  const quotas = createClientQuotas(limits, { clock, ticks, metrics: deps.metrics });
  const review = createPermissionReview(deps);
  const context = protocolContext(deps, { hub, wheel, connections, groupRates, review, quotas, ticks });
  const plainContext: PlainContext = {
    ...{ clock, wheel, hub, limits, metrics: deps.metrics, groupRates, quotas, ticks },
    optionsOf: namespaces.optionsOf,
    mayUse: (identity, group) => mayUse(namespaces, identity, group),
    leave: (connection) => {
      plain.delete(connection);
      quotas.leave(connection.quota, connection);
      if (connection.subscription !== undefined) hub.leave(connection.subscription);
      gate.release(connection.identity.sessionId, connection);
    },
  };
  function* all(): Iterable<AnyConnection> {
    yield* connections;
    yield* plain;
  }
  const stalls = createStallDetector(all, limits.writeTimeoutMs);
  const about = { now: clock.now, startedAt: clock.now() };
  const orders = createControlCommands({ ...deps, ...about, hub, connections: all });
  const audit = (): Promise<void> =>
    hub.audit().catch((error: unknown) => deps.log.debug({ error }, 'gateway.position_check_failed'));

  return {
    open: (wire, hello) => {
      const connection = new Connection(context, wire, deps.newClientId(), hello);
      connections.add(connection);
      return connection;
    },
    reviewRights: () => review.reviewAll(all()),
    openPlain: (wire, place, holder) => {
      const { identity } = place;
      const connection = new PlainConnection(plainContext, wire, deps.newClientId(), place);
      plain.add(connection);
      gate.transfer(identity.sessionId, holder, connection);
      wire.pause();
      void joinPlain(hub, connection, namespaces).finally(() => wire.resume());
      return connection;
    },
    mayUse: plainContext.mayUse,
    hasQuota: (place) => hasQuota({ ...deps, hub, quotas }, place),
    audit,
    onGhost: (key, info) => {
      if (namespaces.optionsOf(groupNameOf(key))?.joinLeave) hub.announceLeave(key, info);
    },
    api: createServerApi({ ...deps, hub, maxDataBytes: limits.maxPublicationBytes }, (error) =>
      deps.log.error({ error }, 'gateway.api_failed'),
    ),
    busHandlers: busHandlersOf(hub, audit, orders),
    tick: () => {
      const now = clock.monotonic();
      wheel.advance(now);
      hub.catchUp();
      ticks.tick();
      stalls.tick(now);
    },
    sweepPlain: (silenceMs) => {
      for (const connection of plain) connection.sweep(clock.monotonic(), silenceMs);
    },
    connections: all,
    counts: () => ({ connections: connections.size, plain: plain.size, ...hub.counts() }),
  };
};

const busHandlersOf = (
  hub: Hub,
  audit: () => Promise<void>,
  orders: (order: ControlCommand) => unknown,
): BusHandlers => ({
  onMessage: hub.onMessage,
  onLost: () => {
    for (const follower of hub.followers()) follower.suspect();
  },
  onReconnected: (isSameLife) => {
    if (isSameLife) for (const follower of hub.followers()) follower.trust();
    void audit();
  },
  onAsk: async (question) => orders(question as ControlCommand),
});

/** What protocol connections share: the way of their commands, and what they leave behind. */
const protocolContext = (
  deps: EngineDeps,
  {
    hub,
    wheel,
    connections,
    groupRates,
    review,
    quotas,
    ticks,
  }: {
    hub: Hub;
    wheel: TimerWheel;
    connections: Set<Connection>;
    groupRates: GroupRates;
    review: PermissionReview;
    quotas: ClientQuotas;
    ticks: Ticks;
  },
): ConnectionContext => {
  const { clock, random, metrics, limits, gate, namespaces } = deps;
  const { maxSubscriptions } = limits;
  const { personalGroups } = deps;
  const { permits, callbacks } = deps;
  const subscribing = { hub, namespaces, metrics, maxSubscriptions };
  const serverSubscriptions = createServerSubscriptions({
    ...subscribing,
    personalGroups,
    maxAnswerBytes: limits.maxSendBufferBytes,
  });
  const history = { bus: deps.bus, maxBytes: limits.maxSendBufferBytes };
  const dispatcher = createDispatcher({
    metrics,
    log: deps.log,
    maxMessageBytes: limits.maxMessageBytes,
    handlers: {
      connect: createConnect({ ...deps, quotas, pingIntervalMs: limits.pingIntervalMs, serverSubscriptions }),
      subscribe: createSubscribe({ ...subscribing, clock, permits, callbacks, review }),
      unsubscribe: createUnsubscribe({ hub }),
      publish: createPublish({ hub, namespaces, callbacks, metrics, rates: groupRates }),
      presence: createPresence({ presence: deps.presence, namespaces, metrics, limits }),
      history: createHistory({ ...history, hub, namespaces, metrics }),
      rpc: createRpc({ callbacks }),
      refresh: createRefresh(deps),
      subRefresh: createSubRefresh({ clock, permits }),
    },
  });
  return {
    ...{ clock, random, wheel, limits, metrics, ticks },
    receive: dispatcher.receive,
    drop: hub.leave,
    review: review.reviewMemberships,
    join: async (connection, { group, ...order }) => {
      const options = namespaces.optionsOf(group);
      const tenant = connection.identity?.tenant;
      if (options === undefined || tenant === undefined) return false;
      return serverSubscriptions.add(connection, { tenant, group, options, basis: BY_SERVER, ...order });
    },
    leave: (connection) => {
      connections.delete(connection);
      if (connection.quota !== undefined) quotas.leave(connection.quota, connection);
      for (const membership of connection.memberships.values()) {
        if (membership.is === 'live') hub.leave(membership.subscription);
      }
      connection.memberships.clear();
      if (connection.phase.is === 'live') gate.release(connection.phase.identity.sessionId, connection);
    },
  };
};

/** A plain client comes with its group: whether that fits is asked before it has a socket. */
const hasQuota = (
  { hub, quotas, metrics }: { hub: Hub; quotas: ClientQuotas; metrics: EngineMetrics },
  { identity, address, group }: PlainConnectionTarget,
): boolean => {
  const quota = quotas.enter({ ...identity, address });
  const hasRoom = quota.hasRoom();
  if (hasRoom && (hub.groupOf(groupKeyOf(identity.tenant, group)) !== undefined || quota.takeNewGroup()))
    return true;
  metrics.rateLimited(hasRoom ? 'new_groups' : 'session_groups', identity);
  return false;
};

/** Plain clients both listen and speak. */
const mayUse = (namespaces: Namespaces, identity: ClientIdentity, group: GroupName): boolean => {
  const options = namespaces.optionsOf(group);
  // A plain client has nobody who could tell it what the application answers.
  if (options === undefined || options.publishCallback) return false;
  const wish = { identity, group, options };
  return (
    isAllowed({ ...wish, action: 'subscribe', isSubscribed: false }) &&
    isAllowed({ ...wish, action: 'publish', isSubscribed: true })
  );
};

const joinPlain = async (hub: Hub, connection: PlainConnection, namespaces: Namespaces): Promise<void> => {
  const options = namespaces.optionsOf(connection.group);
  const retention = options?.retention;
  const who = options && presenceInfoOf(options, connection.id, connection.info);
  try {
    await hub.join({
      key: connection.key,
      member: connection,
      retention,
      service: {
        encoding: 'plain',
        isPositioned: false,
        hearsJoinLeave: false,
        mayLag: options?.slowPolicy === 'lag',
      },
      ...(who === undefined ? {} : { who }),
      onJoined: (subscription) => {
        // Rights may have changed since the upgrade was accepted.
        connection.reviewRights();
        if (connection.isOver) return false;
        connection.subscription = subscription;
        return true;
      },
    });
  } catch {
    connection.close(CloseCode.InternalError);
  }
};
