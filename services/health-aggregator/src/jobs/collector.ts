import { every } from '@muster/kit/clock';
import type { RedisConnections } from '@muster/kit/redis/connection';
import type { Runtime } from '@muster/kit/runtime';
import { createHttpProbe } from '../clients/http-probe.ts';
import { discoverTargets } from '../clients/target-discovery.ts';
import { createSocketProbe } from '../clients/websocket-probe.ts';
import type { AggregatorConfig } from '../config.ts';
import type { FleetState, SelfReport } from '../core/fleet.ts';
import type { CheckIntervals, FailureThresholds } from '../core/instance-monitor.ts';
import type { Transition } from '../core/ports.ts';
import { createProbeScheduler } from '../core/probe-scheduler.ts';
import type { FleetMetrics } from '../metrics.ts';
import { startRegistryPoller } from '../stores/registry-poller.ts';

const TICK_MS = 50;
const REPORT_MS = 1_000;
const REGISTRY_MS = 1_000;
const BEATS_UNTIL_LATE = 2.5;
const PROBES_UNTIL_CALM = 7.5;
const PROBES_UNTIL_REVIVED = 1.5;
/** Only these open sockets to clients. */
const GATEWAY = 'ws-gateway';
const MAX_PROBES_AT_ONCE = 64;
const HURRIED_SHARE = 1 / 4;
const DOWN_FACTOR = 2.5;

/** Probe periods from the configured one: four times as often after a failure, less often when it is down. */
export const checkIntervalsFor = (probeIntervalMs: number): CheckIntervals => ({
  normalMs: probeIntervalMs,
  fastMs: probeIntervalMs * HURRIED_SHARE,
  downMs: probeIntervalMs * DOWN_FACTOR,
});

/** How long things must last to count follows from how often we hear of them. */
export const failureThresholdsFor = (
  heartbeatIntervalMs: number,
  probeIntervalMs: number,
): FailureThresholds => ({
  heartbeatLateMs: heartbeatIntervalMs * BEATS_UNTIL_LATE,
  degradedClearMs: probeIntervalMs * PROBES_UNTIL_CALM,
  recoveryMs: probeIntervalMs * PROBES_UNTIL_REVIVED,
});

/** What the clockwork needs. */
export interface CollectorDeps {
  readonly config: AggregatorConfig;
  readonly world: Runtime;
  readonly redis: RedisConnections;
  readonly fleet: FleetState;
  readonly instruments: FleetMetrics;
  readonly report: () => SelfReport;
}

/**
 * The clockwork: reads the registry, probes what is due, tells the model about ourselves, draws consequences and
 * reports them. Resolves after the first reading; disposing stops everything.
 */
export const startCollector = async (deps: CollectorDeps): Promise<Disposable> => {
  const { config, world, redis, fleet, instruments, report } = deps;
  const { clock, random, log } = world;
  using stack = new DisposableStack();
  const { probe } = stack.use(createHttpProbe({ clock, timeoutMs: config.probeTimeoutMs }));
  const probeSocket = createSocketProbe({
    clock,
    timeoutMs: config.probeTimeoutMs,
    intervalMs: config.websocketProbeIntervalMs,
    onProbed: (service, outcome, durationMs) => instruments.probed(service, 'ws', { outcome, durationMs }),
  });
  const scheduler = createProbeScheduler({
    clock,
    random,
    targets: fleet.probeTargets,
    concurrency: MAX_PROBES_AT_ONCE,
    onLag: instruments.scheduleLag,
    run: async (target) => {
      const result = await probe(target);
      instruments.probed(target.service, 'http', result);
      const isOpen = result.outcome === 'ok' && target.service === GATEWAY;
      const fault = isOpen ? await probeSocket(target) : undefined;
      fleet.recordProbe(target.id, fault === undefined ? result : { ...result, outcome: fault });
    },
  });
  const announce = (change: Transition): void => {
    instruments.changed(change);
    const { id: _, service: of, ...fields } = change;
    const isBad = change.to === 'down' || change.to === 'suspect' || change.to === 'degraded';
    log[isBad ? 'warn' : 'info']({ ...fields, of, afterMs: Math.round(change.afterMs) }, 'instance.changed');
  };
  const tick = (): void => {
    scheduler.tick();
    fleet.tick().forEach(announce);
  };
  const fleetName = config.common.fleetName;
  const intervalMs = Math.min(REGISTRY_MS, config.common.heartbeatIntervalMs / 2);
  const registry = stack.use(startRegistryPoller({ redis, fleetName, fleet, log, intervalMs }));
  stack.use(discoverTargets(config.targets, { found: fleet.recordDiscoveredTargets, log }));
  fleet.recordSelfReport(report());
  stack.defer(every(REPORT_MS, () => fleet.recordSelfReport(report())));
  stack.defer(every(TICK_MS, tick));
  await registry.read();
  const owned = stack.move();
  return { [Symbol.dispose]: () => owned.dispose() };
};
