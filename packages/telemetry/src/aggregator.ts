import { atMost, counter, DETECTION, gauge, histogram, STD } from './metric.ts';

const SERVICE = atMost(6, 'services are those of the fleet');
const INSTANCE = atMost(200, 'instances that are gone are forgotten');
const STATES = ['starting', 'up', 'degraded', 'suspect', 'down', 'draining', 'gone'] as const;
const STEPS = ['session', 'connect', 'subscribe', 'publish', 'receive'] as const;

const state = { row: 'State' };
const changes = { row: 'Changes' };
const probing = { row: 'Probes and journeys' };
const observer = { row: 'Aggregators' };

/** What an aggregator tells. */
export const FLEET = {
  fleet_aggregator_up: gauge('Always 1: an aggregator is there.', { panel: { ...observer, as: 'sum' } }),
  fleet_registry_up: gauge('1 while the registry is readable and believable.', {
    panel: { ...observer, by: ['instance'], as: 'max' },
  }),
  fleet_registry_frozen: gauge('1 while membership is kept as it was.', {
    panel: { ...observer, by: ['instance'], as: 'max' },
  }),
  fleet_snapshot_age_seconds: gauge('Age of the freshest evidence of any kind.', {
    panel: { ...observer, by: ['instance'], as: 'max' },
  }),
  fleet_sse_clients: gauge('Open event streams.', { panel: { ...observer, as: 'sum' } }),
  fleet_leader: gauge('1 while this aggregator leads.', {
    panel: { ...observer, by: ['instance'], as: 'max' },
  }),
  fleet_epoch: gauge('Fencing number of the present leader.', { panel: { ...observer, as: 'max' } }),
  fleet_instances: gauge('Instances by state.', {
    labels: { service: SERVICE, state: STATES },
    panel: { ...state, by: ['service', 'state'], as: 'max' },
  }),
  fleet_instances_expected: gauge('Instances that should be there.', {
    labels: { service: SERVICE },
    panel: { ...state, by: ['service'], as: 'max' },
  }),
  fleet_service_status: gauge('1 for the present status of a service.', {
    labels: {
      service: SERVICE,
      status: ['operational', 'degraded', 'partial_outage', 'major_outage', 'unknown'],
    },
    panel: { ...state, by: ['service', 'status'], as: 'max' },
  }),
  fleet_flapping_instances: gauge('Instances that fall and rise again and again.', {
    labels: { service: SERVICE },
    panel: { ...changes, by: ['service'], as: 'max' },
  }),
  fleet_heartbeat_age_seconds: gauge('Age of the last beat.', {
    labels: { service: SERVICE, instance_name: INSTANCE },
    combinations: 200,
    panel: { ...state, by: ['service', 'instance_name'], as: 'max' },
  }),
  fleet_capacity_connections: gauge('Connections that are used and possible.', {
    labels: { service: SERVICE, kind: ['used', 'limit'] },
    panel: { ...state, by: ['service', 'kind'], as: 'max' },
  }),
  fleet_imbalance_ratio: gauge('The fullest instance against the mean.', {
    labels: { service: SERVICE },
    panel: { ...state, by: ['service'], as: 'max' },
  }),
  fleet_probes_total: counter('Probes by outcome.', {
    labels: {
      service: SERVICE,
      probe: ['http', 'ws'],
      result: [
        'ok',
        'timeout',
        'refused',
        'reset',
        'unready',
        'http_error',
        'bad_body',
        'no_socket',
        'unreachable',
      ],
    },
    panel: { ...probing, by: ['service', 'result'] },
  }),
  fleet_probe_duration_seconds: histogram('Duration of probes.', {
    labels: { service: SERVICE, probe: ['http', 'ws'] },
    buckets: STD,
    panel: { ...probing, by: ['service'] },
  }),
  fleet_probe_schedule_lag_seconds: histogram('How late probes start.', { buckets: STD, panel: probing }),
  fleet_synthetic_checks_total: counter('Journeys by result and, when they failed, by step.', {
    labels: { result: ['ok', 'failed'], step: ['all', ...STEPS] },
    combinations: 6,
    panel: { ...probing, by: ['result', 'step'] },
  }),
  fleet_synthetic_check_duration_seconds: histogram('Duration of the steps of successful journeys.', {
    labels: { step: STEPS },
    buckets: STD,
    panel: { ...probing, by: ['step'] },
  }),
  fleet_transitions_total: counter('Changes of state of instances.', {
    labels: { service: SERVICE, from: STATES, to: STATES },
    // The state machine knows about twenty ways.
    combinations: 60,
    panel: { ...changes, by: ['service', 'from', 'to'] },
  }),
  fleet_detection_seconds: histogram(
    'From the last good evidence of an instance to the moment it was declared down.',
    { buckets: DETECTION, panel: changes },
  ),
  fleet_incidents_open: gauge('Open incidents.', {
    labels: { severity: ['degraded', 'partial_outage', 'major_outage'] },
    panel: { ...changes, by: ['severity'], as: 'max' },
  }),
  fleet_notifications_total: counter('Webhook deliveries by outcome.', {
    labels: {
      channel: atMost(10, 'webhooks are configured'),
      result: atMost(4, 'outcomes are a closed list'),
    },
    panel: { ...changes, by: ['channel', 'result'] },
  }),
} as const;
