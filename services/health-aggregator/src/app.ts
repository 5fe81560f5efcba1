import { fileURLToPath } from 'node:url';
import { type Listening, listen } from '@muster/http/listen';
import { monitorEventLoop } from '@muster/kit/event-loop-delay';
import { createHeartbeat, type Directive } from '@muster/kit/fleet/heartbeat';
import { createInstance } from '@muster/kit/fleet/instance';
import { createHealth, type Health } from '@muster/kit/health';
import { createMetrics, type Metrics } from '@muster/kit/metrics';
import { openOpsServer } from '@muster/kit/ops-server';
import type { ProcessInfo } from '@muster/kit/probe-responses';
import { openRedis, type RedisConnections } from '@muster/kit/redis/connection';
import { type RunningApp, VERSION } from '@muster/kit/run-service';
import type { Runtime } from '@muster/kit/runtime';
import { createGatewayClient } from './clients/gateway-client.ts';
import { createSessionClient } from './clients/session-client.ts';
import { createUpstream } from './clients/upstream.ts';
import type { AggregatorConfig } from './config.ts';
import { createFleetState, type FleetState, type SelfReport } from './core/fleet.ts';
import { readConsole } from './http/console-assets.ts';
import { createFleetEvents, type FleetEvents } from './http/fleet-events.ts';
import { createAggregatorServer, type OperatorClients } from './http/server.ts';
import { createTailTokens } from './http/tail-route.ts';
import { checkIntervalsFor, failureThresholdsFor, startCollector } from './jobs/collector.ts';
import { type LeaderTasks, startLeaderTasks } from './jobs/leader-tasks.ts';
import { createFleetMetrics } from './metrics.ts';
import { createDrainDirectives } from './stores/drain-directives.ts';
import { aggregatorKeys } from './stores/redis-keys.ts';
import { createSelfRemovals } from './stores/self-removals.ts';

const SERVICE = 'health-aggregator';
const CONSOLE_DIRECTORY = fileURLToPath(new URL('../dist/console', import.meta.url));

/** A running aggregator and its ports. */
export interface AggregatorApp extends RunningApp {
  readonly port: number;
  readonly opsPort: number;
}

interface Dependencies {
  readonly config: AggregatorConfig;
  readonly runtime: Runtime;
  readonly about: ProcessInfo;
  readonly metrics: Metrics;
  readonly redis: RedisConnections;
  readonly health: Health;
  readonly fleet: FleetState;
  readonly events: FleetEvents;
}

/** Starts the aggregator: Redis, the model, both ports, the jobs, and last the heartbeat. */
export const createApp = async (config: AggregatorConfig, runtime: Runtime): Promise<AggregatorApp> => {
  const { common } = config;
  const { clock, random, log } = runtime;
  const about = { service: SERVICE, version: VERSION, instance: common.instanceName, startedAt: clock.now() };
  await using stack = new AsyncDisposableStack();
  const metrics = createMetrics({ service: SERVICE, version: VERSION });
  const redis = stack.use(await openRedis({ ...config.redis, name: common.instanceName }, { log, metrics }));
  // Responses come from memory, so the aggregator is ready at once, with or without Redis.
  const health = stack.use(
    createHealth({
      ...{ clock, log, metrics, startupGraceMs: 0, isStrict: common.isStrict },
      checks: { redis: () => redis.ping() },
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
  const events = stack.use(createFleetEvents({ snapshot: fleet.snapshot, random, maxStreams: config.maxEventStreams }));
  const deps: Dependencies = { config, runtime, about, metrics, redis, health, fleet, events };
  let leaderTasks: LeaderTasks | undefined;
  const ports = stack.use(await openPorts(deps, () => leaderTasks));
  leaderTasks = stack.use(await startJobs(deps, ports));
  log.info({ port: ports.port, opsPort: ports.opsPort }, 'aggregator.ready');
  const owned = stack.move();
  return {
    port: ports.port,
    opsPort: ports.opsPort,
    drain: async () => {
      health.startDraining();
      await ports.listener.drain();
      events[Symbol.dispose]();
    },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
};

interface Ports extends AsyncDisposable {
  readonly listener: Pick<Listening, 'drain' | 'resume'>;
  readonly port: number;
  readonly opsPort: number;
}

const openPorts = async (deps: Dependencies, leaderTasks: () => LeaderTasks | undefined): Promise<Ports> => {
  const { config, runtime, redis, events, about, health, metrics } = deps;
  const { clock, log } = runtime;
  const { host, port, opsPort, fleetName } = config.common;
  await using stack = new AsyncDisposableStack();
  const app = createAggregatorServer({
    ...deps,
    ...{ clock, log },
    notes: leaderTasks,
    incidents: () => leaderTasks()?.incidents() ?? [],
    unsaved: () => leaderTasks()?.unsaved() ?? new Set(),
    days: () => leaderTasks()?.days() ?? new Map(),
    directives: createDrainDirectives(redis, fleetName),
    removals: createSelfRemovals(redis, aggregatorKeys(redis.prefix, fleetName).selfRemovals),
    opsToken: config.opsToken,
    operator: createOperatorClients(deps),
    hasPlayground: config.hasPlayground,
    files: readConsole(CONSOLE_DIRECTORY),
  });
  const open = stack.use(await listen(app, { host, port }));
  // An open stream would keep the server from closing.
  stack.defer(() => events[Symbol.dispose]());
  const ops = stack.use(await openOpsServer({ host, port: opsPort, health, about, metrics, clock, log }));
  const owned = stack.move();
  return { listener: open, port: open.port, opsPort: ops.port, [Symbol.asyncDispose]: () => owned.disposeAsync() };
};

/** Access of operators to sessions and groups, for the API keys that are configured. */
const createOperatorClients = ({
  config: { serviceApiKey, serverApiKey, tenantHosts },
  fleet,
  runtime: { clock, log },
}: Dependencies): OperatorClients => ({
  sessions:
    serviceApiKey === undefined
      ? undefined
      : createSessionClient(
          createUpstream({
            ...{ service: 'session-service', variable: 'SERVICE_API_KEYS', fleet, log },
            headers: { authorization: `Bearer ${serviceApiKey}` },
          }),
        ),
  groups:
    serverApiKey === undefined
      ? undefined
      : createGatewayClient(
          createUpstream({
            ...{ service: 'ws-gateway', variable: 'SERVER_API_KEYS', fleet, log },
            headers: { 'x-api-key': serverApiKey },
          }),
        ),
  tailTokens: serverApiKey === undefined ? undefined : createTailTokens({ serverApiKey, tenantHosts, clock }),
});

/** Starts the background jobs: collector, leader tasks, heartbeat. */
const startJobs = async (deps: Dependencies, { listener, port, opsPort }: Ports): Promise<LeaderTasks> => {
  const { config, runtime, redis, fleet, events, health, metrics } = deps;
  const { common } = config;
  await using stack = new AsyncDisposableStack();
  await health.checkNow();
  const instance = createInstance({ service: SERVICE, common, port, opsPort, clock: runtime.clock });
  const loop = stack.use(monitorEventLoop(common.heartbeatIntervalMs, metrics));
  const load = (): Record<string, number> => ({ ...loop.read(), streams: events.size });
  const report = (): SelfReport => {
    const { fleet: _, ...identity } = instance;
    return { ...identity, state: health.state(), load: load(), dependencies: health.dependencies() };
  };
  const instruments = createFleetMetrics(metrics, fleet, () => events.size);
  stack.use(await startCollector({ config, runtime, redis, fleet, instruments, report }));
  const keys = aggregatorKeys(redis.prefix, common.fleetName);
  const leaderTasks = stack.use(await startLeaderTasks({ config, runtime, redis, keys, metrics, fleet, instance }));
  const { heartbeatIntervalMs: intervalMs, heartbeatTtlMs: ttlMs } = common;
  const onDirective = ({ kind }: Directive): void => void (kind === 'drain' ? listener.drain() : listener.resume());
  stack.use(createHeartbeat({ ...runtime, redis, instance, health, load, loop, intervalMs, ttlMs, onDirective }));
  const owned = stack.move();
  return { ...leaderTasks, [Symbol.asyncDispose]: () => owned.disposeAsync() };
};
