import { randomUUID } from 'node:crypto';
import type { Bus, BusHandlers } from '@muster/bus/bus';
import { createRedisBus } from '@muster/bus/redis-broker';
import { createRedisPresence } from '@muster/bus/redis-presence';
import { listen } from '@muster/http/listen';
import { type Clock, every, type Stop, sleep } from '@muster/kit/clock';
import { createHeartbeat, type Directive } from '@muster/kit/fleet/heartbeat';
import { createInstance } from '@muster/kit/fleet/instance';
import { watchLocalFaults } from '@muster/kit/fleet/local-fault';
import { createHealth } from '@muster/kit/health';
import { createMetrics, type Metrics } from '@muster/kit/metrics';
import { openOpsServer } from '@muster/kit/ops-server';
import { openRedis, type RedisConnections } from '@muster/kit/redis/connection';
import { createRefusalLog } from '@muster/kit/refusal-log';
import { type RunningApp, VERSION } from '@muster/kit/run';
import type { Runtime } from '@muster/kit/runtime';
import type { ClientId } from '@muster/protocol/ids';
import type { Authenticator } from './auth/authenticator.ts';
import { withConnectionLimits } from './auth/connection-limits.ts';
import { createHandshakeQueue, type HandshakeQueue } from './auth/handshake-queue.ts';
import {
  createRejectedCredentials,
  type RejectedCredentials,
  withRejectionLog,
} from './auth/rejected-credentials.ts';
import { createSessionPresenceWriter } from './auth/session-activity.ts';
import { createSessionRegistry, type SessionRegistry } from './auth/session-registry.ts';
import { opensNothing } from './config/groups.ts';
import type { GatewayConfig } from './config/index.ts';
import { createEngine, type GatewayEngine, TICK_MS } from './core/engine.ts';
import { createNamespaces, DEFAULT_OPTIONS, type NamespaceTable, openNamespaces } from './core/namespaces.ts';
import { connectionStatsOf } from './crowd.ts';
import { createDrain, type Drain } from './drain.ts';
import { createServer } from './http/server.ts';
import { createLimitLog } from './limit-log.ts';
import { createGatewayMetrics, type GatewayMetrics } from './metrics.ts';
import { canWriteDirectly } from './socket/direct-write.ts';
import { serveSockets } from './socket/server.ts';
import { wireAccess } from './wiring-access.ts';
import { wireSessions } from './composition.ts';

const SERVICE = 'ws-gateway';
/** Time between two comparisons of all groups with their streams, give or take a tenth. */
const AUDIT_MS = 5_000;
const BUS_PATIENCE_MS = 2_000;
const BUS_POLL_MS = 10;
/** Longest body of a call of the server API. */
const MAX_API_BODY_BYTES = 4_194_304;
const DEFAULT_TABLE = { withoutNamespace: DEFAULT_OPTIONS, namespaces: new Map() };

/** A running gateway and where it listens. */
export interface GatewayApp extends RunningApp {
  readonly port: number;
  readonly opsPort: number;
  /** Takes over the signing keys, the keys of tokens and the options of groups of a configuration that was read again. */
  reload(config: GatewayConfig): void;
}

/** Opens everything and wires it: Redis, sessions, bus and engine, both ports, and at last the beat. */
export const createApp = async (config: GatewayConfig, world: Runtime): Promise<GatewayApp> => {
  const { common } = config;
  const { clock, log } = world;
  const about = { service: SERVICE, version: VERSION, instance: common.instanceName, startedAt: clock.now() };
  await using stack = new AsyncDisposableStack();
  const metrics = createMetrics({ service: SERVICE, version: VERSION });
  const redis = stack.use(await openRedis({ ...config.redis, name: common.instanceName }, { log, metrics }));
  const core = stack.use(wireCore(config, world, redis, metrics));
  const { engine, bus, gate, instruments } = core;
  const checks = { redis: () => checkRedis(redis, bus) };
  // Clients whose sessions Redis knows are served without a session service.
  const optionalChecks = { session_service: core.checkSessionService };
  const health = stack.use(
    createHealth({ clock, log, metrics, checks, optionalChecks, isStrict: common.isStrict }),
  );
  redis.onConnectionChange(() => void health.checkNow('redis'));
  await firstContact(bus);

  const { host, port, opsPort } = common;
  const drain = wireDrain(config, clock, core);
  const app = createServer({
    ...{ health, about, clock, log, metrics },
    api: engine.api,
    serverApiKeys: core.serverApiKeys,
    refusals: core.refusals,
    maxBodyBytes: MAX_API_BODY_BYTES,
  });
  const writesDirectly = config.directWrites && (await canWriteDirectly());
  const open = stack.use(await listen(app, { host, port }));
  // Nothing may be awaited between these two: without its listener an upgrade is an ordinary request, answered 400.
  stack.use(
    serveSockets({
      server: open.server,
      engine,
      authenticator: gate,
      rules: config,
      log,
      gateway: common.instanceName,
      limits: config,
      writesDirectly,
      isBusUp: bus.isUp,
      isDraining: drain.isClosed,
      handshakeQueue: core.admission,
      onAddressLimitReached: (address) => instruments.limited('ip', { address }),
      onHandshake: instruments.handshake,
      onRejected: (refusal) => core.refusals.record('handshake', refusal),
    }),
  );
  const ops = stack.use(await openOpsServer({ host, port: opsPort, health, about, metrics, clock, log }));
  await health.checkNow();
  const instance = createInstance({ service: SERVICE, common, port: open.port, opsPort: ops.port, clock });
  stack.use(createSessionPresenceWriter({ redis, registry: core.registry, gateway: instance.id, log }));
  const load = () => loadOf(engine, config.maxConnections);
  stack.use(joinFleet({ ...world, common, redis, metrics, health, instance, load, drain }));
  log.info({ port: open.port, opsPort: ops.port, writesDirectly }, 'gateway.ready');
  const owned = stack.move();
  return {
    port: open.port,
    opsPort: ops.port,
    reload: core.reload,
    drain: async (signal) => {
      health.startDraining();
      await drain.run(signal);
    },
    [Symbol.asyncDispose]: async () => {
      // Upgraded sockets keep an HTTP server open: they end first.
      for (const connection of [...engine.connections()]) connection.terminate();
      await owned.disposeAsync();
    },
  };
};

/** Commands, scripts and publishing on one connection, and hearing on another. */
const checkRedis = async (redis: RedisConnections, bus: Bus): Promise<void> => {
  await redis.ping();
  const fault = bus.fault();
  if (fault !== undefined) throw fault;
};

type FleetDeps = Runtime & {
  readonly common: GatewayConfig['common'];
  readonly metrics: Metrics;
  readonly drain: Drain;
} & Pick<Parameters<typeof createHeartbeat>[0], 'redis' | 'health' | 'instance' | 'load'>;

/** Beats, follows orders, and leaves the pool when a fault is ours alone. */
const joinFleet = (deps: FleetDeps): AsyncDisposable => {
  const { common, drain, health } = deps;
  const { heartbeatIntervalMs: intervalMs, heartbeatTtlMs: ttlMs } = common;
  const stack = new AsyncDisposableStack();
  // Clients are handed over as at the end, but the process stays, and may take clients again.
  const handOver = (): void => void drain.run(AbortSignal.timeout(common.drainTimeoutMs));
  const { aggregatorUrls: aggregators, localFaultAfterMs: afterMs } = common;
  const onChange = (isMine: boolean): void => {
    if (isMine) handOver();
    // What an operator has drained stays so.
    else if (health.state() !== 'draining') drain.cancel();
  };
  stack.use(watchLocalFaults({ ...deps, aggregators, afterMs, onChange }));
  const onDirective = ({ kind }: Directive): void => (kind === 'drain' ? handOver() : drain.cancel());
  stack.use(createHeartbeat({ ...deps, intervalMs, ttlMs, onDirective }));
  return stack;
};

const wireDrain = (
  { common, drainAcceptMs }: GatewayConfig,
  clock: Clock,
  { engine, instruments }: Core,
): Drain =>
  createDrain({
    connections: engine.connections,
    clock,
    acceptMs: drainAcceptMs,
    timeoutMs: common.drainTimeoutMs,
    onRemaining: instruments.draining,
    onDeparture: instruments.departed,
  });

/** Waits for the bus before the first client comes, but not for long: without Redis a gateway starts too. */
const firstContact = async (bus: Bus): Promise<void> => {
  for (let waited = 0; !bus.isUp() && waited < BUS_PATIENCE_MS; waited += BUS_POLL_MS)
    await sleep(BUS_POLL_MS);
};

const loadOf = (engine: GatewayEngine, limit: number): Record<string, number> => {
  const { connections, plain, groups, subscriptions } = engine.counts();
  return { connections: connections + plain, connectionsLimit: limit, groups, subscriptions };
};

interface Core extends AsyncDisposable {
  readonly refusals: RejectedCredentials;
  readonly admission: HandshakeQueue;
  readonly engine: GatewayEngine;
  readonly bus: Bus;
  readonly gate: Authenticator;
  readonly instruments: GatewayMetrics;
  readonly registry: SessionRegistry;
  checkSessionService(): Promise<void>;
  /** Keys of the server API at this moment. */
  serverApiKeys(): GatewayConfig['serverApiKeys'];
  reload(config: GatewayConfig): void;
}

/** Everything between Redis and the sockets. */
const wireCore = (config: GatewayConfig, world: Runtime, redis: RedisConnections, metrics: Metrics): Core => {
  const { clock, random, log } = world;
  const stack = new AsyncDisposableStack();
  let current = config;
  const registry = createSessionRegistry();
  const groups = wireGroups(config, log);
  const access = wireAccess(config, world, metrics);
  const state = () => ({
    ...engine.counts(),
    sessions: registry.size(),
    busSubscriptions: bus.subscriptions(),
    admissionQueue: admission.waiting(),
    connectionsLimit: config.maxConnections,
    ...connectionStatsOf(engine.connections()),
  });
  const instruments = createGatewayMetrics(metrics, state, createLimitLog(log, clock));
  const sessions = stack.use(wireSessions(config, world, redis, metrics, { registry, instruments, access }));
  const admission = wireAdmission(config, sessions, clock, instruments);
  const refusals = createRejectedCredentials(metrics, createRefusalLog(log));
  const bus: Bus = stack.use(
    createRedisBus(
      { redis, log, metrics },
      handlersOf(() => engine),
    ),
  );
  const presence = stack.use(
    createRedisPresence({ redis, log }, { onGone: (group, _, info) => engine.onGhost(group, info) }),
  );
  const engine = createEngine({
    ...{ clock, random, log, bus, presence },
    gate: withRejectionLog(admission.authenticator, refusals),
    permits: access.strangers.subscriptionTokens,
    callbacks: access.callbacks,
    namespaces: groups.namespaces,
    metrics: instruments,
    limits: config,
    publishBatchWindowMs: config.publishBatchWindowMs,
    personalGroups: config.personalGroups,
    gateway: config.common.instanceName,
    version: VERSION,
    newClientId: () => randomUUID() as ClientId,
    isTokenKeyValid: access.strangers.isTokenKeyValid,
    isAtHome: ({ host, identity }) => sessions.isAtHome(host, identity),
  });
  startTimers(engine, config, random).forEach(stack.defer, stack);
  return {
    engine,
    bus,
    gate: admission.authenticator,
    admission,
    instruments,
    refusals,
    registry,
    checkSessionService: sessions.checkSource,
    serverApiKeys: () => current.serverApiKeys,
    reload: (next) => {
      current = next;
      groups.reload(next);
      sessions.reload(next);
      access.reload(next);
      void engine.reviewRights();
      logReload(next, log);
    },
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  };
};

const logReload = ({ sessionSecrets, access }: GatewayConfig, log: Runtime['log']): void =>
  log.info({ keys: sessionSecrets.length, tokenKeys: access.tokens.keys.length }, 'gateway.reloaded');

const startTimers = (engine: GatewayEngine, config: GatewayConfig, random: Runtime['random']): Stop[] => [
  every(TICK_MS, engine.tick),
  every(AUDIT_MS * (0.9 + random.fraction() / 5), () => void engine.audit()),
  every(config.plainSweepMs, () => engine.sweepPlain(config.plainSilenceMs)),
];

/** The bus is opened before the engine that it tells. */
const handlersOf = (engine: () => GatewayEngine): BusHandlers => ({
  onMessage: (group, message) => engine().busHandlers.onMessage(group, message),
  onLost: () => engine().busHandlers.onLost?.(),
  onReconnected: (isSameLife) => engine().busHandlers.onReconnected(isSameLife),
  onAsk: async (question) => engine().busHandlers.onAsk?.(question),
});

/** The gate as connections meet it: a queue before it, and so many places behind it. */
const wireAdmission = (
  config: GatewayConfig,
  gate: Authenticator,
  clock: Clock,
  instruments: GatewayMetrics,
): HandshakeQueue =>
  createHandshakeQueue({
    authenticator: withConnectionLimits({
      authenticator: gate,
      maxPerUser: config.maxConnectionsPerUser,
      maxPerSession: config.maxConnectionsPerSession,
      onRefused: instruments.limited,
    }),
    clock,
    concurrency: config.handshakeConcurrency,
    maxWaiting: config.handshakeQueue,
    onWaited: instruments.admissionWaited,
    onRefused: () => instruments.limited('admission'),
  });

/** Says what clients may use: a namespace that opens nothing is probably not what its owner wanted, and everything open neither. */
const logOpenGroups = (table: NamespaceTable | undefined, log: Runtime['log']): void => {
  if (table === undefined) {
    const detail =
      'Without GROUPS_FILE every signed-in client may subscribe and publish to every group but `$…` and `…#user`.';
    log.warn({ detail }, 'gateway.groups_open');
    return;
  }
  const all = [...table.namespaces, ['', table.withoutNamespace] as const];
  const closed = all.filter(([, options]) => opensNothing(options)).map(([name]) => name);
  log.info({ namespaces: table.namespaces.size, closed }, 'gateway.groups_loaded');
};

/** The options of groups, which may change while we run. */
const wireGroups = ({ groups }: GatewayConfig, log: Runtime['log']) => {
  let table = groups;
  logOpenGroups(groups, log);
  return {
    namespaces: table === undefined ? openNamespaces : createNamespaces(() => table ?? DEFAULT_TABLE),
    reload: ({ groups: next }: GatewayConfig): void => {
      table = next;
      logOpenGroups(next, log);
    },
  };
};
