import type { IncomingMessage, RequestListener, Server, ServerResponse } from 'node:http';
import type { Bus } from '@muster/bus/bus';
import { type Listening, listen } from '@muster/http/listen';
import { sleep } from '@muster/kit/clock';
import { defined } from '@muster/kit/defined';
import { monitorEventLoop } from '@muster/kit/event-loop-delay';
import { createHeartbeat, type Directive } from '@muster/kit/fleet/heartbeat';
import { createInstance } from '@muster/kit/fleet/instance';
import { watchLocalFaults } from '@muster/kit/fleet/local-fault';
import { createHealth, type Health } from '@muster/kit/health';
import { createMetrics, type Metrics } from '@muster/kit/metrics';
import { openOpsServer } from '@muster/kit/ops-server';
import { openRedis, type RedisConnections } from '@muster/kit/redis/connection';
import { type RunningApp, VERSION } from '@muster/kit/run-service';
import type { Runtime } from '@muster/kit/runtime';
import { createSessionPresenceWriter } from './auth/session-activity.ts';
import { composeGateway, type Gateway } from './composition.ts';
import type { GatewayConfig } from './config/index.ts';
import type { GatewayEngine } from './core/engine.ts';
import { createDrain, type Drain, type GatewayDrainDeps } from './drain.ts';
import { createGatewayServer } from './http/server.ts';
import { createMovedClients } from './moved-clients.ts';
import { createRebalance, type Rebalance } from './rebalance.ts';
import { canWriteDirectly } from './socket/direct-write.ts';
import { serveSockets } from './socket/websocket-server.ts';
import { warmUp } from './warm-up.ts';

const SERVICE = 'ws-gateway';
const BUS_TIMEOUT_MS = 2_000;
const BUS_POLL_MS = 10;
/** Longest body of a call of the server API. */
const MAX_API_BODY_BYTES = 4_194_304;

/** A running gateway and its ports. */
export interface GatewayApp extends RunningApp {
  readonly port: number;
  readonly opsPort: number;
  /** Applies the reloadable parts of a configuration: session secrets, token keys, server API keys, tenant hosts, groups. */
  reload(config: GatewayConfig): void;
}

/** Starts a gateway: Redis, sessions, bus and engine, both ports, and then the heartbeat. */
export const createApp = async (config: GatewayConfig, runtime: Runtime): Promise<GatewayApp> => {
  const { common } = config;
  const { clock, log } = runtime;
  const about = { service: SERVICE, version: VERSION, instance: common.instanceName, startedAt: clock.now() };
  await using stack = new AsyncDisposableStack();
  const metrics = createMetrics({ service: SERVICE, version: VERSION });
  const redis = stack.use(await openRedis({ ...config.redis, name: common.instanceName }, { log, metrics }));
  const gateway = stack.use(composeGateway(config, runtime, redis, metrics));
  const { engine, authenticator, handshakeQueue, instruments, rejections } = gateway;
  const health = stack.use(healthOf(config, runtime, gateway, redis, metrics));
  await waitForBus(engine.bus);

  const app = createGatewayServer({
    ...{ health, about, clock, log, metrics },
    api: engine.api,
    serverApiKeys: gateway.serverApiKeys,
    refusals: rejections,
    maxBodyBytes: MAX_API_BODY_BYTES,
  });
  const writesDirectly = config.directWrites && (await canWriteDirectly());
  await warmUp(config, { ...runtime, health, about, writesDirectly, maxBodyBytes: MAX_API_BODY_BYTES });
  const open = stack.use(await listenOnPort(app, config));
  const rebalance = rebalanceOf(config, runtime, redis, gateway);
  const drain = drainOf(config, runtime, gateway, { listener: open, onStarted: rebalance.cancel });
  const serveSocketsOf = (server: Server): Disposable =>
    serveSockets({
      server,
      ...{ engine, authenticator, handshakeQueue, log, writesDirectly },
      rules: config,
      gateway: common.instanceName,
      limits: config,
      isBusUp: engine.bus.isUp,
      isDraining: drain.isClosed,
      onAddressLimitReached: (address) => instruments.limitReached('ip', { address }),
      onHandshake: instruments.handshake,
      onRejected: (refusal) => rejections.record('handshake', refusal),
    });
  // No await since the port is open: without the listener an upgrade is an ordinary request, answered with 400.
  stack.use(serveSocketsOf(open.server));
  const { host, opsPort } = common;
  // A shared port leads to any process, so aggregators use the ops port alone.
  const handle = config.reusePort ? serverApiOf(app) : undefined;
  const ops = stack.use(
    await openOpsServer({ host, port: opsPort, health, about, metrics, clock, log, ...defined({ handle }) }),
  );
  if (config.reusePort) stack.use(serveSocketsOf(ops.server));
  await health.checkNow();
  const port = config.reusePort ? ops.port : open.port;
  const instance = createInstance({ service: SERVICE, common, port, opsPort: ops.port, clock });
  stack.use(createSessionPresenceWriter({ redis, registry: gateway.registry, gateway: instance.id, log }));
  const load = () => loadOf(engine, config.maxConnections);
  stack.use(joinFleet({ ...runtime, common, redis, metrics, health, instance, load, drain, rebalance }));
  log.info({ port: open.port, opsPort: ops.port, writesDirectly }, 'gateway.ready');
  const owned = stack.move();
  return {
    port: open.port,
    opsPort: ops.port,
    reload: gateway.reload,
    drain: async (signal) => {
      health.startDraining();
      await drain.run(signal);
    },
    [Symbol.asyncDispose]: async () => {
      // Upgraded sockets keep the HTTP server open: they are closed first.
      for (const connection of [...engine.connections()]) connection.terminate();
      await owned.disposeAsync();
    },
  };
};

const healthOf = (
  { common: { isStrict } }: GatewayConfig,
  { clock, log }: Runtime,
  { engine, checkSessionService }: Gateway,
  redis: RedisConnections,
  metrics: Metrics,
): Health => {
  const checks = { redis: () => checkRedis(redis, engine.bus) };
  // Clients whose sessions are in Redis are served without a session service.
  const optionalChecks = { session_service: checkSessionService };
  const health = createHealth({ clock, log, metrics, checks, optionalChecks, isStrict });
  redis.onConnectionChange(() => void health.checkNow('redis'));
  return health;
};

/** Opens the public port. Rejects with the remedy where the platform or another process does not share it. */
const listenOnPort = async (
  app: RequestListener,
  { common: { host, port }, reusePort }: GatewayConfig,
): Promise<Listening> => {
  try {
    return await listen(app, { host, port, reusePort });
  } catch (error) {
    throw reusePort ? sharedPortFault(error as NodeJS.ErrnoException, port) : error;
  }
};

/** The fault of a port that cannot be shared, with its remedy. */
export const sharedPortFault = (error: NodeJS.ErrnoException, port: number): Error => {
  const cause =
    error.code === 'EADDRINUSE'
      ? `port ${port} is held by a process of another user, or by one without REUSE_PORT=on`
      : `this platform does not share ports [${error.code}]; Linux and FreeBSD do`;
  const remedy = 'set REUSE_PORT=off, give each gateway a PORT of its own, and put a load balancer before them';
  return new Error(`REUSE_PORT: ${cause}: ${remedy}`, { cause: error });
};

const serverApiOf =
  (app: RequestListener) =>
  (req: IncomingMessage, res: ServerResponse): boolean => {
    if (!/^\/api(?:[/?]|$)/.test(req.url ?? '')) return false;
    app(req, res);
    return true;
  };

/** Checks the command connection by a ping, and the subscriber by its loopback probe. */
const checkRedis = async (redis: RedisConnections, bus: Pick<Bus, 'fault'>): Promise<void> => {
  await redis.ping();
  const fault = bus.fault();
  if (fault !== undefined) throw fault;
};

type FleetDeps = Runtime & {
  readonly common: GatewayConfig['common'];
  readonly metrics: Metrics;
  readonly drain: Drain;
  readonly rebalance: Rebalance;
} & Pick<Parameters<typeof createHeartbeat>[0], 'redis' | 'health' | 'instance' | 'load'>;

/** Sends heartbeats, follows directives, and drains while a fault is local to this instance. */
const joinFleet = (deps: FleetDeps): AsyncDisposable => {
  const { common, drain, rebalance, health, log } = deps;
  const { heartbeatIntervalMs: intervalMs, heartbeatTtlMs: ttlMs } = common;
  const stack = new AsyncDisposableStack();
  // Clients are drained as at shutdown, but the process stays up and may accept clients again.
  const startDrain = (): void => void drain.run(AbortSignal.timeout(common.drainTimeoutMs));
  const resume = (): void => {
    drain.cancel().catch((error: unknown) => {
      log.error({ error }, 'gateway.resume_failed');
      health.withdraw();
    });
  };
  const { aggregatorUrls: aggregators, localFaultAfterMs: afterMs } = common;
  const onChange = (isLocal: boolean): void => {
    if (isLocal) startDrain();
    // A drain by an operator stays in effect.
    else if (health.state() !== 'draining') resume();
  };
  stack.use(watchLocalFaults({ ...deps, aggregators, afterMs, onChange }));
  const onDirective = (directive: Directive): void => {
    if (directive.kind === 'shed') {
      if (health.state() !== 'draining') void rebalance.run(directive);
    } else if (directive.kind === 'drain') startDrain();
    else resume();
  };
  const loop = stack.use(monitorEventLoop(intervalMs, deps.metrics));
  stack.use(createHeartbeat({ ...deps, loop, intervalMs, ttlMs, onDirective }));
  return stack;
};

const rebalanceOf = (
  { common }: GatewayConfig,
  { clock, log }: Runtime,
  redis: RedisConnections,
  { engine, instruments }: Gateway,
): Rebalance =>
  createRebalance({
    ...{ clock, log, connections: engine.connections },
    movedClients: createMovedClients(redis, common.fleetName),
    onMove: instruments.connectionRebalanced,
  });

const drainOf = (
  { common, drainAcceptMs }: GatewayConfig,
  { clock }: Runtime,
  { engine, instruments }: Gateway,
  deps: Pick<GatewayDrainDeps, 'listener' | 'onStarted'>,
): Drain =>
  createDrain({
    ...deps,
    connections: engine.connections,
    clock,
    acceptMs: drainAcceptMs,
    timeoutMs: common.drainTimeoutMs,
    onRemaining: instruments.drainRemaining,
    onDrained: instruments.connectionDrained,
  });

/** Waits for the bus for up to two seconds; a gateway starts without Redis, too. */
const waitForBus = async (bus: Pick<Bus, 'isUp'>): Promise<void> => {
  for (let waited = 0; !bus.isUp() && waited < BUS_TIMEOUT_MS; waited += BUS_POLL_MS) await sleep(BUS_POLL_MS);
};

const loadOf = (engine: GatewayEngine, limit: number): Record<string, number> => {
  const { connections, plain, groups, subscriptions } = engine.counts();
  return { connections: connections + plain, connectionsLimit: limit, groups, subscriptions };
};
