import { fileURLToPath } from 'node:url';
import { listen } from '@muster/http/listen';
import { createBeat } from '@muster/kit/beat';
import { createHealth, type Health } from '@muster/kit/health';
import { createInstance, type Instance } from '@muster/kit/instance';
import { createMetrics } from '@muster/kit/metrics';
import { openOpsServer } from '@muster/kit/ops-server';
import { openRedis } from '@muster/kit/redis';
import { type RunningApp, VERSION } from '@muster/kit/run';
import type { World } from '@muster/kit/world';
import type { AggregatorConfig } from './config.ts';
import { createFleet, type SelfReport } from './core/fleet.ts';
import type { Incident } from './core/incidents.ts';
import { readConsole } from './http/console.ts';
import { createEventStreams } from './http/event-streams.ts';
import { createServer } from './http/server.ts';
import { type Lead, lead } from './lead.ts';
import { createFleetMetrics } from './metrics.ts';
import { observe, pacesFrom } from './observe.ts';
import { aggregatorKeys } from './sources/keys.ts';

const SERVICE = 'health-aggregator';
const CONSOLE_DIRECTORY = fileURLToPath(new URL('../dist/console', import.meta.url));

/** A running aggregator and where it listens. */
export interface AggregatorApp extends RunningApp {
  readonly port: number;
  readonly opsPort: number;
}

/** Opens everything and wires it: Redis, the model, both ports, the sources, and at last the beat. */
export const createApp = async (config: AggregatorConfig, world: World): Promise<AggregatorApp> => {
  const { common } = config;
  const { clock, random, log } = world;
  const about = { service: SERVICE, version: VERSION, instance: common.instanceName, startedAt: clock.now() };
  await using stack = new AsyncDisposableStack();
  const metrics = createMetrics({ service: SERVICE, version: VERSION });
  const redis = stack.use(await openRedis({ ...config.redis, name: common.instanceName }, { log, metrics }));
  // The aggregator answers from memory, so it is ready at once, with or without Redis.
  const health = stack.use(
    createHealth({ clock, log, metrics, checks: { redis: () => redis.ping() }, startupGraceMs: 0 }),
  );
  const fleet = createFleet({
    clock,
    name: common.fleetName,
    observer: { name: common.instanceName, version: VERSION, startedAt: about.startedAt },
    expected: config.expected,
    staleAfterMs: config.staleAfterMs,
    paces: pacesFrom(config.probeIntervalMs),
  });
  const streams = stack.use(
    createEventStreams({ view: fleet.view, random, maxStreams: config.maxEventStreams }),
  );
  const instruments = createFleetMetrics(metrics, fleet, () => streams.size);
  const files = readConsole(CONSOLE_DIRECTORY);
  const { hasTryIt } = config;
  let leading: Lead | undefined;
  const incidents = (): readonly Incident[] => leading?.incidents() ?? [];
  const app = createServer({
    fleet,
    streams,
    files,
    hasTryIt,
    health,
    about,
    clock,
    log,
    metrics,
    incidents,
  });
  const { host, port, opsPort } = common;
  const open = stack.use(await listen(app, { host, port }));
  // An open stream would keep the port from closing.
  stack.defer(() => streams[Symbol.dispose]());
  const ops = stack.use(await openOpsServer({ host, port: opsPort, health, about, metrics, clock, log }));
  await health.checkNow();
  const instance = createInstance({ service: SERVICE, common, port: open.port, opsPort: ops.port, clock });
  const load = (): Record<string, number> => ({ streams: streams.size });
  const report = (): SelfReport => selfReport(instance, health, load());
  stack.use(await observe({ config, world, redis, fleet, instruments, report }));
  const keys = aggregatorKeys(redis.prefix, common.fleetName);
  leading = stack.use(await lead({ config, world, redis, keys, metrics, fleet, instance }));
  const { beatIntervalMs: intervalMs, beatTtlMs: ttlMs } = common;
  stack.use(createBeat({ redis, instance, health, load, clock, random, log, intervalMs, ttlMs }));
  log.info({ port: open.port, opsPort: ops.port }, 'aggregator.ready');
  const owned = stack.move();
  return {
    port: open.port,
    opsPort: ops.port,
    drain: async () => {
      health.startDraining();
      streams[Symbol.dispose]();
    },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
};

const selfReport = (instance: Instance, health: Health, load: Record<string, number>): SelfReport => ({
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
