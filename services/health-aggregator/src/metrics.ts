import { type Metrics, STD } from '@muster/kit/metrics';
import { capacityOf } from './core/capacity.ts';
import type { Fleet } from './core/fleet.ts';
import { INSTANCE_STATES, type ProbeResult, type Transition } from './core/ports.ts';
import { SERVICE_STATUSES } from './core/verdict.ts';
import type { ServiceView } from './core/view.ts';

const DETECTION_BUCKETS = [0.5, 1, 2, 3, 5, 8, 13, 30] as const;

/** What happens in the aggregator, told to the instruments. */
export interface FleetMetrics {
  probed(service: string, result: ProbeResult): void;
  scheduleLag(lagMs: number): void;
  changed(transition: Transition): void;
}

/** The instruments of ops.md's catalogue; gauges of instances are rebuilt from the model at every scrape. */
export const createFleetMetrics = (metrics: Metrics, fleet: Fleet, streams: () => number): FleetMetrics => {
  const probes = metrics.counter({
    name: 'fleet_probes_total',
    help: 'Probes by outcome.',
    labels: ['service', 'probe', 'result'],
  });
  const durations = metrics.histogram({
    name: 'fleet_probe_duration_seconds',
    help: 'Duration of probes.',
    labels: ['service', 'probe'],
    buckets: STD,
  });
  const lag = metrics
    .histogram({ name: 'fleet_probe_schedule_lag_seconds', help: 'How late probes start.', buckets: STD })
    .with({});
  const transitions = metrics.counter({
    name: 'fleet_transitions_total',
    help: 'Changes of state of instances.',
    labels: ['service', 'from', 'to'],
  });
  const detection = metrics
    .histogram({
      name: 'fleet_detection_seconds',
      help: 'From the last good evidence of an instance to the moment it was declared down.',
      buckets: DETECTION_BUCKETS,
    })
    .with({});
  registerGauges(metrics, fleet, streams);
  return {
    probed: (service, { outcome, durationMs }) => {
      probes.inc({ service, probe: 'http', result: outcome });
      durations.observe({ service, probe: 'http' }, durationMs / 1_000);
    },
    scheduleLag: (lagMs) => lag.observe(lagMs / 1_000),
    changed: ({ service, from, to, afterMs }) => {
      transitions.inc({ service, from, to });
      if (to === 'down') detection.observe(afterMs / 1_000);
    },
  };
};

const registerGauges = (metrics: Metrics, fleet: Fleet, streams: () => number): void => {
  const gauge = <L extends string = never>(name: string, help: string, labels: readonly L[] = []) =>
    metrics.gauge<L>({ name, help, labels });
  const up = gauge('fleet_up', 'Always 1: an aggregator is there.').with({});
  const registryUp = gauge('fleet_registry_up', '1 while the registry is readable and believable.').with({});
  const frozen = gauge('fleet_registry_frozen', '1 while membership is kept as it was.').with({});
  const age = gauge('fleet_snapshot_age_seconds', 'Age of the freshest evidence of any kind.').with({});
  const clients = gauge('fleet_sse_clients', 'Open event streams.').with({});
  const instances = gauge('fleet_instances', 'Instances by state.', ['service', 'state']);
  const expected = gauge('fleet_instances_expected', 'Instances that should be there.', ['service']);
  const statuses = gauge('fleet_service_status', '1 for the present status of a service.', [
    'service',
    'status',
  ]);
  const flapping = gauge('fleet_flapping_instances', 'Instances that fall and rise again and again.', [
    'service',
  ]);
  const connections = gauge('fleet_capacity_connections', 'Connections that are used and possible.', [
    'service',
    'kind',
  ]);
  const imbalance = gauge('fleet_imbalance_ratio', 'The fullest instance against the mean.', ['service']);
  const beatAge = gauge('fleet_heartbeat_age_seconds', 'Age of the last beat.', ['service', 'instance_name']);
  const describe = ({ service, status, expected: wanted, instances: members }: ServiceView): void => {
    expected.set({ service }, wanted);
    for (const each of SERVICE_STATUSES) statuses.set({ service, status: each }, each === status ? 1 : 0);
    for (const state of INSTANCE_STATES) {
      instances.set({ service, state }, members.filter((member) => member.state === state).length);
    }
    flapping.set({ service }, members.filter((member) => member.flapping).length);
    for (const { name, beatAgeMs } of members)
      beatAge.set({ service, instance_name: name }, beatAgeMs / 1_000);
  };
  metrics.onCollect(() => {
    const view = fleet.view();
    up.set(1);
    registryUp.set(view.frozen ? 0 : 1);
    frozen.set(view.frozen ? 1 : 0);
    age.set(view.ageMs / 1_000);
    clients.set(streams());
    for (const one of [instances, expected, statuses, flapping, connections, imbalance, beatAge]) one.reset();
    view.services.forEach(describe);
    for (const [service, { used, limit, imbalance: ratio }] of Object.entries(capacityOf(view))) {
      connections.set({ service, kind: 'used' }, used);
      connections.set({ service, kind: 'limit' }, limit);
      imbalance.set({ service }, ratio);
    }
  });
};
