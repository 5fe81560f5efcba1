import { atMost, counter, DETECTION, gauge, histogram, STD } from './metric.ts';

const SERVICE = atMost(6, 'services are those of the fleet');
const INSTANCE = atMost(200, 'instances that left are removed');
const STATES = ['starting', 'up', 'degraded', 'suspect', 'down', 'draining', 'gone'] as const;
const STEPS = ['session', 'connect', 'subscribe', 'publish', 'receive'] as const;

const state = { row: 'State' };
const changes = { row: 'Changes' };
const probing = { row: 'Probes and synthetic checks' };
const observer = { row: 'Aggregators' };

/** Metrics of an aggregator. */
export const FLEET = {
  fleet_aggregator_up: gauge('Always 1 while an aggregator runs.', { panel: { ...observer, as: 'sum' } }),
  fleet_registry_up: gauge('1 while the registry is readable and plausible.', {
    panel: { ...observer, by: ['instance'], as: 'max' },
  }),
  fleet_registry_frozen: gauge('1 while membership is frozen because the registry is not usable.', {
    panel: { ...observer, by: ['instance'], as: 'max' },
  }),
  fleet_snapshot_age_seconds: gauge('Age of the newest observation of any kind.', {
    panel: { ...observer, by: ['instance'], as: 'max' },
  }),
  fleet_sse_clients: gauge('Open event streams.', { panel: { ...observer, as: 'sum' } }),
  fleet_leader: gauge('1 while this aggregator is the leader.', {
    panel: { ...observer, by: ['instance'], as: 'max' },
  }),
  fleet_epoch: gauge('Fencing token of the current leader.', { panel: { ...observer, as: 'max' } }),
  fleet_instances: gauge('Instances by state.', {
    labels: { service: SERVICE, state: STATES },
    panel: { ...state, by: ['service', 'state'], as: 'max' },
  }),
  fleet_instances_expected: gauge('Expected number of instances.', {
    labels: { service: SERVICE },
    panel: { ...state, by: ['service'], as: 'max' },
  }),
  fleet_service_status: gauge('1 for the current status of a service.', {
    labels: {
      service: SERVICE,
      status: ['operational', 'degraded', 'partial_outage', 'major_outage', 'unknown'],
    },
    panel: { ...state, by: ['service', 'status'], as: 'max' },
  }),
  fleet_flapping_instances: gauge('Instances that change between up and down repeatedly.', {
    labels: { service: SERVICE },
    panel: { ...changes, by: ['service'], as: 'max' },
  }),
  fleet_heartbeat_age_seconds: gauge('Age of the last heartbeat.', {
    labels: { service: SERVICE, instance_name: INSTANCE },
    combinations: 200,
    panel: { ...state, by: ['service', 'instance_name'], as: 'max' },
  }),
  fleet_capacity_connections: gauge('Open connections and their limit.', {
    labels: { service: SERVICE, kind: ['used', 'limit'] },
    panel: { ...state, by: ['service', 'kind'], as: 'max' },
  }),
  fleet_imbalance_ratio: gauge('Load of the fullest instance relative to the mean.', {
    labels: { service: SERVICE },
    panel: { ...state, by: ['service'], as: 'max' },
  }),
  fleet_probes_total: counter('Probes by outcome.', {
    labels: {
      service: SERVICE,
      probe: ['http', 'ws'],
      result: ['ok', 'timeout', 'refused', 'reset', 'unready', 'http_error', 'bad_body', 'no_socket', 'unreachable'],
    },
    panel: { ...probing, by: ['service', 'result'] },
  }),
  fleet_probe_duration_seconds: histogram('Duration of probes.', {
    labels: { service: SERVICE, probe: ['http', 'ws'] },
    buckets: STD,
    panel: { ...probing, by: ['service'] },
  }),
  fleet_probe_schedule_lag_seconds: histogram('Delay between the due time and the start of a probe.', {
    buckets: STD,
    panel: probing,
  }),
  fleet_synthetic_checks_total: counter('Synthetic checks by result and, if failed, by step.', {
    labels: { result: ['ok', 'failed'], step: ['all', ...STEPS] },
    combinations: 6,
    panel: { ...probing, by: ['result', 'step'] },
  }),
  fleet_synthetic_check_duration_seconds: histogram('Duration of the steps of successful synthetic checks.', {
    labels: { step: STEPS },
    buckets: STD,
    panel: { ...probing, by: ['step'] },
  }),
  fleet_transitions_total: counter('State transitions of instances.', {
    labels: { service: SERVICE, from: STATES, to: STATES },
    // The state machine has about twenty transitions.
    combinations: 60,
    panel: { ...changes, by: ['service', 'from', 'to'] },
  }),
  fleet_detection_seconds: histogram('Time from the last good observation of an instance to its status down.', {
    buckets: DETECTION,
    panel: changes,
  }),
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
  fleet_rebalance_state: gauge('1 for the current state of the rebalance.', {
    labels: { state: ['balanced', 'waiting', 'moving', 'blocked', 'paused'] },
    panel: { ...changes, by: ['state'], as: 'max' },
  }),
  fleet_rebalance_decisions_total: counter('Decisions of the leader to move clients, by result.', {
    labels: { result: ['issued', 'dry_run', 'refused', 'repeated', 'ineffective', 'failed'] },
    zero: true,
    panel: { ...changes, by: ['result'] },
  }),
  fleet_rebalance_moves_requested_total: counter('Moves of clients that gateways were requested to make.', {
    panel: changes,
  }),
  fleet_pod_deletion_cost_patches_total: counter('Patches of the deletion cost of gateway pods by result.', {
    labels: { result: ['ok', 'forbidden', 'not_found', 'timeout', 'error'] },
    zero: true,
    panel: { ...changes, by: ['result'] },
  }),
} as const;
