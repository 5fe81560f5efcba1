import { fileURLToPath } from 'node:url';
import { listen } from '@muster/http/listen';
import { monitorEventLoop } from '@muster/kit/event-loop-delay';
import { createHeartbeat } from '@muster/kit/fleet/heartbeat';
import { createInstance, type InstanceIdentity } from '@muster/kit/fleet/instance';
import { createHealth, type Health } from '@muster/kit/health';
import { createMetrics, type Metrics } from '@muster/kit/metrics';
import { openOpsServer } from '@muster/kit/ops-server';
import type { ProcessInfo } from '@muster/kit/probes';
import { openRedis, type RedisConnections } from '@muster/kit/redis/connection';
import { type RunningApp, VERSION } from '@muster/kit/run';
import type { Runtime } from '@muster/kit/runtime';
import { createGatewayClient } from './clients/gateway-client.ts';
import { createSessionClient } from './clients/session-client.ts';
import { createUpstream } from './clients/upstream.ts';
import type { AggregatorConfig } from './config.ts';
import { createFleetState, type FleetState, type SelfReport } from './core/fleet.ts';
import { readConsole } from './http/console-assets.ts';
import { createFleetEvents, type FleetEvents } from './http/fleet-events.ts';
import { createServer, type OperatorClients } from './http/server.ts';
import { createTailTokens } from './http/tail-route.ts';
import { checkIntervalsFor, failureThresholdsFor, startCollector } from './jobs/collector.ts';
import { type LeaderTasks, startLeaderTasks } from './jobs/leader-tasks.ts';
import { createFleetMetrics } from './metrics.ts';
import { createDrainDirectives } from './stores/drain-directives.ts';
import { aggregatorKeys } from './stores/redis-keys.ts';
import { createSelfRemovals } from './stores/self-removals.ts';

const SERVICE = 'health-aggregator';
const CONSOLE_DIRECTORY = fileURLToPath(new URL('../dist/console', import.meta.url));

/** A running aggregator and where it listens. */
export interface AggregatorApp extends RunningApp {
  readonly port: number;
  readonly opsPort: number;
}

/** What is opened first and used by everything else. */
interface Ground {
  readonly config: AggregatorConfig;
  readonly world: Runtime;
  readonly about: ProcessInfo;
  readonly metrics: Metrics;
  readonly redis: RedisConnections;
  readonly health: Health;
  readonly fleet: FleetState;
  readonly streams: FleetEvents;
}

/** Opens everything and wires it: Redis, the model, both ports, the sources, and at last the heartbeat. */
export const createApp = async (config: AggregatorConfig, world: Runtime): Promise<AggregatorApp> => {
  const { common } = config;
  const { clock, random, log } = world;
  const about = { service: SERVICE, version: VERSION, instance: common.instanceName, startedAt: clock.now() };
  await using stack = new AsyncDisposableStack();
  const metrics = createMetrics({ service: SERVICE, version: VERSION });
  const redis = stack.use(await openRedis({ ...config.redis, name: common.instanceName }, { log, metrics }));
  // The aggregator answers from memory, so it is ready at once, with or without Redis.
  const health = stack.use(
    createHealth({
      clock,
      log,
      metrics,
      checks: { redis: () => redis.ping() },
      startupGraceMs: 0,
      isStrict: common.isStrict,
    }),
  );
  redis.onConnectionChange(() => void health.checkNow('redis'));
  const fleet = createFleetState({
    clock,
    name: common.fleetName,
    observer: { name: common.instanceName, version: VERSION, startedAt: about.startedAt },
    expected: config.expected,
    staleAfterMs: config.staleAfterMs,
    checkIntervals: checkIntervalsFor(config.probeIntervalMs),
    thresholds: failureThresholdsFor(common.heartbeatIntervalMs, config.probeIntervalMs),
  });
  const streams = stack.use(
    createFleetEvents({ view: fleet.snapshot, random, maxStreams: config.maxEventStreams }),
  );
  const ground: Ground = { config, world, about, metrics, redis, health, fleet, streams };
  let leading: LeaderTasks | undefined;
  const ports = stack.use(await openPorts(ground, () => leading));
  leading = stack.use(await startWork(ground, ports));
  log.info({ port: ports.port, opsPort: ports.opsPort }, 'aggregator.ready');
  const owned = stack.move();
  return {
    port: ports.port,
    opsPort: ports.opsPort,
    drain: async () => {
      health.startDraining();
      streams[Symbol.dispose]();
    },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
};

interface Ports extends AsyncDisposable {
  readonly port: number;
  readonly opsPort: number;
}

const openPorts = async (ground: Ground, leading: () => LeaderTasks | undefined): Promise<Ports> => {
  const { config, world, redis, streams, about, health, metrics } = ground;
  const desks = openDesks(ground);
  const { clock, log } = world;
  const { host, port, opsPort, fleetName } = config.common;
  await using stack = new AsyncDisposableStack();
  const app = createServer({
    ...ground,
    ...{ clock, log },
    notes: leading,
    incidents: () => leading()?.incidents() ?? [],
    unsaved: () => leading()?.unsaved() ?? new Set(),
    days: () => leading()?.days() ?? new Map(),
    directives: createDrainDirectives(redis, fleetName),
    removals: createSelfRemovals(redis, aggregatorKeys(redis.prefix, fleetName).selfRemovals),
    opsToken: config.opsToken,
    desks,
    hasPlayground: config.hasPlayground,
    files: readConsole(CONSOLE_DIRECTORY),
  });
  const open = stack.use(await listen(app, { host, port }));
  // An open stream would keep the port from closing.
  stack.defer(() => streams[Symbol.dispose]());
  const ops = stack.use(await openOpsServer({ host, port: opsPort, health, about, metrics, clock, log }));
  const owned = stack.move();
  return { port: open.port, opsPort: ops.port, [Symbol.asyncDispose]: () => owned.disposeAsync() };
};

/** Where operators look into sessions and groups, as far as we have keys for it. */
const openDesks = ({ config, fleet, world: { clock, log } }: Ground): OperatorClients => {
  const { serviceApiKey, serverApiKey, tenantHosts } = config;
  const services =
    serviceApiKey === undefined
      ? undefined
      : createUpstream({
          ...{ service: 'session-service', variable: 'SERVICE_API_KEYS', fleet, log },
          headers: { authorization: `Bearer ${serviceApiKey}` },
        });
  const gateways =
    serverApiKey === undefined
      ? undefined
      : createUpstream({
          ...{ service: 'ws-gateway', variable: 'SERVER_API_KEYS', fleet, log },
          headers: { 'x-api-key': serverApiKey },
        });
  return {
    sessions: services && createSessionClient(services),
    groups: gateways && createGatewayClient(gateways),
    tailTokens:
      serverApiKey === undefined ? undefined : createTailTokens({ serverApiKey, tenantHosts, clock }),
  };
};

/** Starts what goes on by itself: observing, campaigning, beating. */
const startWork = async (ground: Ground, { port, opsPort }: Ports): Promise<LeaderTasks> => {
  const { config, world, redis, fleet, streams, health, metrics } = ground;
  const { common } = config;
  await using stack = new AsyncDisposableStack();
  await health.checkNow();
  const instance = createInstance({ service: SERVICE, common, port, opsPort, clock: world.clock });
  const loop = stack.use(monitorEventLoop(common.heartbeatIntervalMs));
  const load = (): Record<string, number> => ({ ...loop.read(), streams: streams.size });
  const report = (): SelfReport => selfReport(instance, health, load());
  const instruments = createFleetMetrics(metrics, fleet, () => streams.size);
  stack.use(await startCollector({ config, world, redis, fleet, instruments, report }));
  const keys = aggregatorKeys(redis.prefix, common.fleetName);
  const leading = stack.use(await startLeaderTasks({ config, world, redis, keys, metrics, fleet, instance }));
  const { heartbeatIntervalMs: intervalMs, heartbeatTtlMs: ttlMs } = common;
  stack.use(createHeartbeat({ ...world, redis, instance, health, load, intervalMs, ttlMs }));
  const owned = stack.move();
  return { ...leading, [Symbol.asyncDispose]: () => owned.disposeAsync() };
};

const selfReport = (
  instance: InstanceIdentity,
  health: Health,
  load: Record<string, number>,
): SelfReport => ({
  id: instance.id,
  service: instance.service,
  name: instance.name,
  address: instance.address,
  opsAddress: instance.opsAddress,
  version: instance.version,
  startedAt: instance.startedAt,
  state: health.state(),
  load,
  dependencies: health.dependencies(),
});
