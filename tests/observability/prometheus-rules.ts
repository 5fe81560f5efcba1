/** Values of a series, in the notation of promtool: `1+1x10` is eleven samples. */
export interface Series {
  readonly series: string;
  readonly values: string;
}

/** Series for which an alert fires, and similar series for which it does not. */
export interface RuleCase {
  readonly alert: string;
  readonly at: string;
  readonly interval?: string;
  readonly firing: readonly Series[];
  readonly silent: readonly Series[];
}

const of = (series: string, values: string): Series => ({ series, values });
const handshakes = (result: string, count: string) => of(`gateway_handshakes_total{result="${result}"}`, count);
const expected = (count: string) => of('fleet_instances_expected{service="ws-gateway"}', count);
const heapLimit = of('service_heap_limit_bytes{instance="g"}', '1000x30');

/** One case per alert of rules.yml. Series are sampled every minute unless `interval` is given. */
export const RULE_CASES: readonly RuleCase[] = [
  { alert: 'Watchdog', at: '1m', firing: [], silent: [] },
  {
    alert: 'FleetAggregatorAbsent',
    at: '5m',
    firing: [],
    silent: [of('fleet_aggregator_up{instance="a"}', '1x10')],
  },
  {
    alert: 'FleetLeaderCount',
    at: '5m',
    firing: [of('fleet_leader{instance="a"}', '0x10'), of('fleet_leader{instance="b"}', '0x10')],
    silent: [of('fleet_leader{instance="a"}', '1x10'), of('fleet_leader{instance="b"}', '0x10')],
  },
  {
    alert: 'FleetBelowQuorum',
    at: '5m',
    firing: [
      of('fleet_instances{service="ws-gateway",state="up",instance="a"}', '1x10'),
      of('fleet_instances{service="ws-gateway",state="up",instance="b"}', '1x10'),
      of('fleet_instances_expected{service="ws-gateway",instance="a"}', '3x10'),
    ],
    silent: [
      of('fleet_instances{service="ws-gateway",state="up",instance="a"}', '1x10'),
      of('fleet_instances{service="ws-gateway",state="degraded",instance="a"}', '2x10'),
      of('fleet_instances_expected{service="ws-gateway",instance="a"}', '3x10'),
    ],
  },
  {
    alert: 'FleetInstanceDown',
    at: '5m',
    firing: [of('fleet_instances{service="ws-gateway",state="down"}', '1x10')],
    silent: [of('fleet_instances{service="ws-gateway",state="draining"}', '1x10')],
  },
  {
    alert: 'FleetTargetDown',
    at: '5m',
    firing: [of('up{job="fleet",instance="gw-1"}', '1 1 0x10')],
    silent: [of('up{job="fleet",instance="gw-1"}', '1x10'), of('up{job="other",instance="x"}', '0x10')],
  },
  {
    alert: 'FleetFlapping',
    at: '5m',
    firing: [of('fleet_flapping_instances{service="ws-gateway"}', '1x10')],
    silent: [of('fleet_flapping_instances{service="ws-gateway"}', '0x10')],
  },
  {
    alert: 'FleetRegistryFrozen',
    at: '5m',
    firing: [of('fleet_registry_frozen{instance="a"}', '1x10')],
    silent: [of('fleet_registry_frozen{instance="a"}', '0x10')],
  },
  {
    alert: 'FleetSnapshotStale',
    at: '5m',
    firing: [of('fleet_snapshot_age_seconds{instance="a"}', '20x10')],
    silent: [
      of('fleet_snapshot_age_seconds{instance="a"}', '20x10'),
      of('fleet_snapshot_age_seconds{instance="b"}', '1x10'),
    ],
  },
  {
    alert: 'SyntheticCheckFailing',
    at: '10m',
    firing: [
      of('fleet_synthetic_checks_total{result="failed",step="receive"}', '0+6x20'),
      of('fleet_synthetic_checks_total{result="ok",step="all"}', '7x20'),
    ],
    silent: [
      of('fleet_synthetic_checks_total{result="failed",step="receive"}', '0+3x20'),
      of('fleet_synthetic_checks_total{result="ok",step="all"}', '0+3x20'),
    ],
  },
  {
    alert: 'VersionSkew',
    at: '2h',
    firing: [of('service_build_info{version="1"}', '1x180'), of('service_build_info{version="2"}', '1x180')],
    silent: [of('service_build_info{version="1"}', '1x180')],
  },
  {
    alert: 'BusProbeFailing',
    at: '5m',
    firing: [of('gateway_bus_canary_last_success_timestamp_seconds', '60x10')],
    silent: [of('gateway_bus_canary_last_success_timestamp_seconds', '0+60x10')],
  },
  {
    alert: 'MessageLost',
    at: '5m',
    firing: [of('gateway_sequence_gaps_total{outcome="lost"}', '0 0 1x10')],
    silent: [
      of('gateway_sequence_gaps_total{outcome="repaired"}', '0+1x10'),
      of('gateway_sequence_gaps_total{outcome="lost"}', '0x10'),
    ],
  },
  {
    alert: 'GatewayNearLimit',
    at: '15m',
    firing: [
      of('fleet_capacity_connections{service="ws-gateway",kind="used"}', '9000x20'),
      of('fleet_capacity_connections{service="ws-gateway",kind="limit"}', '10000x20'),
    ],
    silent: [
      of('fleet_capacity_connections{service="ws-gateway",kind="used"}', '8000x20'),
      of('fleet_capacity_connections{service="ws-gateway",kind="limit"}', '10000x20'),
    ],
  },
  {
    alert: 'GatewayImbalanced',
    at: '20m',
    firing: [
      of('fleet_imbalance_ratio{service="ws-gateway"}', '1.8x30'),
      of('fleet_capacity_connections{service="ws-gateway",kind="used"}', '500x30'),
    ],
    silent: [
      of('fleet_imbalance_ratio{service="ws-gateway"}', '2x30'),
      of('fleet_capacity_connections{service="ws-gateway",kind="used"}', '4x30'),
    ],
  },
  {
    alert: 'SlowConsumers',
    at: '20m',
    firing: [of('gateway_slow_consumer_actions_total{instance="gw-1",action="disconnect"}', '0+120x30')],
    silent: [of('gateway_slow_consumer_actions_total{instance="gw-1",action="disconnect"}', '0+5x30')],
  },
  {
    alert: 'DependencyDown',
    at: '5m',
    firing: [of('service_dependency_up{dependency="redis",instance="a"}', '0x10')],
    silent: [
      of('service_dependency_up{dependency="redis",instance="a"}', '0x10'),
      of('service_dependency_up{dependency="redis",instance="b"}', '1x10'),
    ],
  },
  {
    alert: 'PostgresReadOnly',
    at: '5m',
    firing: [of('db_client_primary{instance="s-1"}', '0x10')],
    silent: [of('db_client_primary{instance="s-1"}', '1x10')],
  },
  {
    alert: 'PoolExhausted',
    at: '5m',
    firing: [of('db_client_connections_pending{instance="s-1",pool="main"}', '3x10')],
    silent: [of('db_client_connections_pending{instance="s-1",pool="main"}', '0x10')],
  },
  {
    alert: 'RedisClientNotReady',
    at: '5m',
    firing: [of('redis_client_status{instance="g",client="command-0",status="reconnecting"}', '1x10')],
    silent: [of('redis_client_status{instance="g",client="command-0",status="ready"}', '1x10')],
  },
  {
    alert: 'EventLoopStalled',
    at: '10m',
    firing: [of('service_event_loop_delay_seconds{instance="g"}', '0.4x20')],
    silent: [of('service_event_loop_delay_seconds{instance="g"}', '0.02x20')],
  },
  {
    alert: 'SessionRevocationSlow',
    at: '15m',
    firing: [
      of('session_revocation_propagation_seconds_bucket{le="1"}', '0+1x30'),
      of('session_revocation_propagation_seconds_bucket{le="5"}', '0+60x30'),
      of('session_revocation_propagation_seconds_bucket{le="+Inf"}', '0+60x30'),
    ],
    silent: [
      of('session_revocation_propagation_seconds_bucket{le="1"}', '0+60x30'),
      of('session_revocation_propagation_seconds_bucket{le="5"}', '0+60x30'),
      of('session_revocation_propagation_seconds_bucket{le="+Inf"}', '0+60x30'),
    ],
  },
  {
    alert: 'HandshakesRejected',
    at: '20m',
    firing: [handshakes('accepted', '0+900x30'), handshakes('rejected_overload', '0+60x30')],
    silent: [handshakes('accepted', '0+900x30'), handshakes('rejected_overload', '0+3x30')],
  },
  {
    alert: 'ReconnectStorm',
    at: '80m',
    firing: [handshakes('accepted', '0+60x300 18060+6000x40')],
    // The same rate as an hour ago.
    silent: [handshakes('accepted', '0+6000x340')],
    interval: '15s',
  },
  {
    alert: 'PrometheusTargetMissing',
    at: '10m',
    firing: [of('up{job="fleet",service="ws-gateway",instance="a"}', '1x20'), expected('2x20')],
    silent: [
      of('up{job="fleet",service="ws-gateway",instance="a"}', '1x20'),
      of('up{job="fleet",service="ws-gateway",instance="b"}', '0x20'),
      expected('2x20'),
    ],
  },
  {
    alert: 'RedisRejected',
    at: '10m',
    firing: [of('redis_client_command_errors_total{client="command-0",reason="oom"}', '0+2x20')],
    silent: [of('redis_client_command_errors_total{client="command-0",reason="timeout"}', '0+2x20')],
  },
  {
    alert: 'HeapNearLimit',
    at: '20m',
    firing: [of('nodejs_heap_size_used_bytes{instance="g"}', '950x30'), heapLimit],
    silent: [of('nodejs_heap_size_used_bytes{instance="g"}', '700x30'), heapLimit],
  },
  {
    alert: 'SessionSweeperStale',
    at: '3h',
    firing: [of('session_sweeper_last_success_timestamp_seconds{instance="a"}', '60x200')],
    // One sweeper suffices for all replicas.
    silent: [
      of('session_sweeper_last_success_timestamp_seconds{instance="a"}', '60x200'),
      of('session_sweeper_last_success_timestamp_seconds{instance="b"}', '0+60x200'),
    ],
  },
  {
    alert: 'SigningKeyOld',
    at: '2h',
    firing: [of('session_signing_key_age_seconds{key="active"}', '3100000x130')],
    silent: [
      of('session_signing_key_age_seconds{key="active"}', '86400x130'),
      of('session_signing_key_age_seconds{key="previous"}', '3100000x130'),
    ],
  },
  {
    alert: 'OutboxWaiting',
    at: '10m',
    firing: [of('session_outbox_waiting{instance="a"}', '4x20')],
    silent: [of('session_outbox_waiting{instance="a"}', '4x2 0x20')],
  },
];
