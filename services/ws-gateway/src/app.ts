import type { Bus } from '@muster/bus/bus';
import { listen } from '@muster/http/listen';
import { sleep } from '@muster/kit/clock';
import { createHeartbeat, type Directive } from '@muster/kit/fleet/heartbeat';
import { createInstance } from '@muster/kit/fleet/instance';
import { watchLocalFaults } from '@muster/kit/fleet/local-fault';
import { createHealth } from '@muster/kit/health';
import { createMetrics, type Metrics } from '@muster/kit/metrics';
import { openOpsServer } from '@muster/kit/ops-server';
import { openRedis, type RedisConnections } from '@muster/kit/redis/connection';
import { type RunningApp, VERSION } from '@muster/kit/run-service';
import type { Runtime } from '@muster/kit/runtime';
import { createSessionPresenceWriter } from './auth/session-activity.ts';
import { composeGateway, type Gateway } from './composition.ts';
import type { GatewayConfig } from './config/index.ts';
import type { GatewayEngine } from './core/engine.ts';
import { createDrain, type Drain } from './drain.ts';
import { createGatewayServer } from './http/server.ts';
import { canWriteDirectly } from './socket/direct-write.ts';
import { serveSockets } from './socket/websocket-server.ts';

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
  const checks = { redis: () => checkRedis(redis, engine.bus) };
  // Clients whose sessions are in Redis are served without a session service.
  const optionalChecks = { session_service: gateway.checkSessionService };
  const health = stack.use(createHealth({ clock, log, metrics, checks, optionalChecks, isStrict: common.isStrict }));
  redis.onConnectionChange(() => void health.checkNow('redis'));
  await waitForBus(engine.bus);

  const { host, port, opsPort } = common;
  const drain = drainOf(config, runtime, gateway);
  const app = createGatewayServer({
    ...{ health, about, clock, log, metrics },
    api: engine.api,
    serverApiKeys: gateway.serverApiKeys,
    refusals: rejections,
    maxBodyBytes: MAX_API_BODY_BYTES,
  });
  const writesDirectly = config.directWrites && (await canWriteDirectly());
  const open = stack.use(await listen(app, { host, port }));
  // No await between these two: without the listener an upgrade is an ordinary request, answered with 400.
  stack.use(
    serveSockets({
      server: open.server,
      ...{ engine, authenticator, handshakeQueue, log, writesDirectly },
      rules: config,
      gateway: common.instanceName,
      limits: config,
      isBusUp: engine.bus.isUp,
      isDraining: drain.isClosed,
      onAddressLimitReached: (address) => instruments.limitReached('ip', { address }),
      onHandshake: instruments.handshake,
      onRejected: (refusal) => rejections.record('handshake', refusal),
    }),
  );
  const ops = stack.use(await openOpsServer({ host, port: opsPort, health, about, metrics, clock, log }));
  await health.checkNow();
  const instance = createInstance({ service: SERVICE, common, port: open.port, opsPort: ops.port, clock });
  stack.use(createSessionPresenceWriter({ redis, registry: gateway.registry, gateway: instance.id, log }));
  const load = () => loadOf(engine, config.maxConnections);
  stack.use(joinFleet({ ...runtime, common, redis, metrics, health, instance, load, drain }));
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
} & Pick<Parameters<typeof createHeartbeat>[0], 'redis' | 'health' | 'instance' | 'load'>;

/** Sends heartbeats, follows directives, and drains while a fault is local to this instance. */
const joinFleet = (deps: FleetDeps): AsyncDisposable => {
  const { common, drain, health } = deps;
  const { heartbeatIntervalMs: intervalMs, heartbeatTtlMs: ttlMs } = common;
  const stack = new AsyncDisposableStack();
  // Clients are drained as at shutdown, but the process stays up and may accept clients again.
  const startDrain = (): void => void drain.run(AbortSignal.timeout(common.drainTimeoutMs));
  const { aggregatorUrls: aggregators, localFaultAfterMs: afterMs } = common;
  const onChange = (isLocal: boolean): void => {
    if (isLocal) startDrain();
    // A drain by an operator stays in effect.
    else if (health.state() !== 'draining') drain.cancel();
  };
  stack.use(watchLocalFaults({ ...deps, aggregators, afterMs, onChange }));
  const onDirective = ({ kind }: Directive): void => (kind === 'drain' ? startDrain() : drain.cancel());
  stack.use(createHeartbeat({ ...deps, intervalMs, ttlMs, onDirective }));
  return stack;
};

const drainOf = (
  { common, drainAcceptMs }: GatewayConfig,
  { clock }: Runtime,
  { engine, instruments }: Gateway,
): Drain =>
  createDrain({
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
