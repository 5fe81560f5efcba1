import type { Metrics } from '@muster/kit/metrics';
import { capacityOf } from './core/capacity.ts';
import type { FleetState } from './core/fleet.ts';
import type { ServiceSnapshot } from './core/fleet-snapshot.ts';
import { INSTANCE_STATES, type ProbeResult, type Transition } from './core/ports.ts';
import { SERVICE_STATUSES } from './core/status.ts';

/** Instruments of the aggregator. */
export type FleetMetrics = ReturnType<typeof createFleetMetrics>;

/** Creates the instruments; gauges are computed from a snapshot at every scrape. */
export const createFleetMetrics = (metrics: Metrics, fleet: FleetState, streams: () => number) => {
  const probes = metrics.counter('fleet_probes_total');
  const durations = metrics.histogram('fleet_probe_duration_seconds');
  const lag = metrics.histogram('fleet_probe_schedule_lag_seconds').with({});
  const transitions = metrics.counter('fleet_transitions_total');
  const detection = metrics.histogram('fleet_detection_seconds').with({});
  registerGauges(metrics, fleet, streams);
  return {
    recordProbe: (
      service: string,
      probe: 'http' | 'ws',
      { outcome, durationMs }: Pick<ProbeResult, 'outcome' | 'durationMs'>,
    ): void => {
      probes.inc({ service, probe, result: outcome });
      durations.observe({ service, probe }, durationMs / 1_000);
    },
    recordScheduleLag: (lagMs: number): void => lag.observe(lagMs / 1_000),
    recordTransition: ({ service, from, to, afterMs }: Transition): void => {
      transitions.inc({ service, from, to });
      if (to === 'down') detection.observe(afterMs / 1_000);
    },
  };
};

const registerGauges = (metrics: Metrics, fleet: FleetState, streams: () => number): void => {
  const up = metrics.gauge('fleet_aggregator_up').with({});
  const registryUp = metrics.gauge('fleet_registry_up').with({});
  const frozen = metrics.gauge('fleet_registry_frozen').with({});
  const age = metrics.gauge('fleet_snapshot_age_seconds').with({});
  const clients = metrics.gauge('fleet_sse_clients').with({});
  const instances = metrics.gauge('fleet_instances');
  const expected = metrics.gauge('fleet_instances_expected');
  const statuses = metrics.gauge('fleet_service_status');
  const flapping = metrics.gauge('fleet_flapping_instances');
  const connections = metrics.gauge('fleet_capacity_connections');
  const imbalance = metrics.gauge('fleet_imbalance_ratio');
  const heartbeatAge = metrics.gauge('fleet_heartbeat_age_seconds');
  const setServiceGauges = ({ service, status, expected: wanted, instances: members }: ServiceSnapshot): void => {
    expected.set({ service }, wanted);
    for (const each of SERVICE_STATUSES) statuses.set({ service, status: each }, each === status ? 1 : 0);
    for (const state of INSTANCE_STATES) {
      instances.set({ service, state }, members.filter((member) => member.state === state).length);
    }
    flapping.set({ service }, members.filter((member) => member.flapping).length);
    for (const { name, beatAgeMs } of members) heartbeatAge.set({ service, instance_name: name }, beatAgeMs / 1_000);
  };
  metrics.onCollect(() => {
    const snapshot = fleet.snapshot();
    up.set(1);
    registryUp.set(snapshot.frozen ? 0 : 1);
    frozen.set(snapshot.frozen ? 1 : 0);
    age.set(snapshot.ageMs / 1_000);
    clients.set(streams());
    for (const gauge of [instances, expected, statuses, flapping, connections, imbalance, heartbeatAge]) gauge.reset();
    snapshot.services.forEach(setServiceGauges);
    for (const [service, { used, limit, imbalance: ratio }] of Object.entries(capacityOf(snapshot))) {
      connections.set({ service, kind: 'used' }, used);
      connections.set({ service, kind: 'limit' }, limit);
      imbalance.set({ service }, ratio);
    }
  });
};
