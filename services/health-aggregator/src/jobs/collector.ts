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
const HEARTBEATS_UNTIL_LATE = 2.5;
const PROBES_UNTIL_CLEAR = 7.5;
const PROBES_UNTIL_RECOVERED = 1.5;
/** The only service with WebSocket probes. */
const GATEWAY = 'ws-gateway';
const MAX_PROBES_AT_ONCE = 64;
const FAST_SHARE = 1 / 4;
const DOWN_FACTOR = 2.5;

/** Probe intervals from the configured one: a quarter after a failure, longer while an instance is down. */
export const checkIntervalsFor = (probeIntervalMs: number): CheckIntervals => ({
  normalMs: probeIntervalMs,
  fastMs: probeIntervalMs * FAST_SHARE,
  downMs: probeIntervalMs * DOWN_FACTOR,
});

/** Thresholds from the intervals of heartbeats and probes. */
export const failureThresholdsFor = (heartbeatIntervalMs: number, probeIntervalMs: number): FailureThresholds => ({
  heartbeatLateMs: heartbeatIntervalMs * HEARTBEATS_UNTIL_LATE,
  degradedClearMs: probeIntervalMs * PROBES_UNTIL_CLEAR,
  recoveryMs: probeIntervalMs * PROBES_UNTIL_RECOVERED,
});

interface CollectorDeps {
  readonly config: AggregatorConfig;
  readonly runtime: Runtime;
  readonly redis: RedisConnections;
  readonly fleet: FleetState;
  readonly instruments: FleetMetrics;
  readonly report: () => SelfReport;
}

/**
 * Collects evidence: reads the registry, probes instances, reports this process, and evaluates the model. Resolves after the first
 * read of the registry; disposing stops it.
 */
export const startCollector = async (deps: CollectorDeps): Promise<Disposable> => {
  const { config, runtime, redis, fleet, instruments, report } = deps;
  const { clock, random, log } = runtime;
  using stack = new DisposableStack();
  const { probe } = stack.use(createHttpProbe({ clock, timeoutMs: config.probeTimeoutMs }));
  const probeSocket = createSocketProbe({
    clock,
    timeoutMs: config.probeTimeoutMs,
    intervalMs: config.websocketProbeIntervalMs,
    onProbed: (service, outcome, durationMs) => instruments.recordProbe(service, 'ws', { outcome, durationMs }),
  });
  const scheduler = createProbeScheduler({
    clock,
    random,
    targets: fleet.probeTargets,
    concurrency: MAX_PROBES_AT_ONCE,
    onLag: instruments.recordScheduleLag,
    run: async (target) => {
      const result = await probe(target);
      instruments.recordProbe(target.service, 'http', result);
      const isOpen = result.outcome === 'ok' && target.service === GATEWAY;
      const fault = isOpen ? await probeSocket(target) : undefined;
      fleet.recordProbe(target.id, fault === undefined ? result : { ...result, outcome: fault });
    },
  });
  const reportTransition = (transition: Transition): void => {
    instruments.recordTransition(transition);
    const { id: _, service: of, ...fields } = transition;
    const isBad = transition.to === 'down' || transition.to === 'suspect' || transition.to === 'degraded';
    log[isBad ? 'warn' : 'info']({ ...fields, of, afterMs: Math.round(transition.afterMs) }, 'instance.changed');
  };
  const tick = (): void => {
    scheduler.tick();
    fleet.tick().forEach(reportTransition);
  };
  const fleetName = config.common.fleetName;
  const intervalMs = Math.min(REGISTRY_MS, config.common.heartbeatIntervalMs / 2);
  const registry = stack.use(startRegistryPoller({ redis, fleetName, fleet, log, intervalMs }));
  stack.use(discoverTargets(config.targets, { found: fleet.recordDiscoveredTargets, log }));
  fleet.recordSelfReport(report());
  stack.defer(every(REPORT_MS, () => fleet.recordSelfReport(report())));
  stack.defer(every(TICK_MS, tick));
  await registry.read();
  return stack.move();
};
