import { alert, type RuleGroup } from './prometheus-rules.ts';

/**
 * Alerts that do not belong to an objective. Severities: `page` is urgent, `ticket` is not. All aggregators export the same values of
 * the fleet, so expressions apply `max by` first.
 */
export const ALERT_GROUPS: readonly RuleGroup[] = [
  {
    name: 'fleet',
    rules: [
      alert('Watchdog', 'none', {
        expr: 'vector(1)',
        summary: 'Always firing. If it is not received, alerting is broken.',
      }),
      alert('FleetAggregatorAbsent', 'page', {
        expr: 'absent(fleet_aggregator_up == 1)',
        wait: '2m',
        summary: 'No health aggregator is scraped.',
      }),
      alert('FleetLeaderCount', 'ticket', {
        expr: 'sum(fleet_leader) != 1',
        wait: '1m',
        summary: '{{ $value }} aggregators are leader; expected one.',
      }),
      alert('FleetBelowQuorum', 'page', {
        expr: 'sum by (service) (max by (service, state) (fleet_instances{state=~"up|degraded"})) / max by (service) (fleet_instances_expected) < 0.67',
        wait: '30s',
        summary: 'Fewer than two thirds of the instances of {{ $labels.service }} are serving.',
      }),
      alert('FleetInstanceDown', 'ticket', {
        expr: 'max by (service) (fleet_instances{state="down"}) > 0',
        wait: '30s',
        summary: '{{ $value }} instance(s) of {{ $labels.service }} are down.',
      }),
      alert('FleetTargetDown', 'ticket', {
        expr: 'up{job="fleet"} == 0',
        wait: '30s',
        summary: '{{ $labels.instance }} cannot be scraped.',
      }),
      alert('FleetFlapping', 'ticket', {
        expr: 'max by (service) (fleet_flapping_instances) > 0',
        wait: '1m',
        summary: 'An instance of {{ $labels.service }} is flapping.',
      }),
      alert('FleetRegistryFrozen', 'ticket', {
        expr: 'max(fleet_registry_frozen) == 1',
        wait: '1m',
        summary: 'The registry cannot be read; membership is frozen.',
      }),
      alert('FleetSnapshotStale', 'page', {
        expr: 'min(fleet_snapshot_age_seconds) > 15',
        wait: '15s',
        summary: 'No aggregator has fresh evidence.',
      }),
      alert('SyntheticCheckFailing', 'page', {
        expr: 'sum(increase(fleet_synthetic_checks_total{result="failed"}[2m])) >= 3 and sum(increase(fleet_synthetic_checks_total{result="ok"}[1m])) == 0',
        summary: 'The synthetic check fails: a message published on one gateway is not received on another.',
      }),
      alert('VersionSkew', 'ticket', {
        expr: 'count(count by (version) (service_build_info)) > 1',
        wait: '1h',
        summary: 'More than one version has been running for an hour.',
      }),
      alert('PrometheusTargetMissing', 'ticket', {
        expr: 'count by (service) (up{job="fleet",service=~"session-service|ws-gateway"}) < on (service) max by (service) (fleet_instances_expected)',
        wait: '5m',
        summary: 'Prometheus scrapes fewer instances of {{ $labels.service }} than expected.',
      }),
    ],
  },
  {
    name: 'gateway',
    rules: [
      alert('BusProbeFailing', 'page', {
        expr: 'time() - gateway_bus_canary_last_success_timestamp_seconds > 15',
        wait: '15s',
        summary: '{{ $labels.instance }} does not receive its own probe messages from Redis.',
      }),
      alert('MessageLost', 'page', {
        expr: 'sum by (instance) (increase(gateway_sequence_gaps_total{outcome="lost"}[5m])) > 0',
        summary: '{{ $labels.instance }} lost messages of a group: a gap could not be recovered.',
      }),
      alert('GatewayNearLimit', 'ticket', {
        expr: 'max by (service) (fleet_capacity_connections{kind="used"}) / max by (service) (fleet_capacity_connections{kind="limit"}) > 0.85',
        wait: '10m',
        summary: '{{ $labels.service }} is above 85 % of its connection limit. Add a replica.',
      }),
      alert('GatewayImbalanced', 'ticket', {
        expr: 'max by (service) (fleet_imbalance_ratio) > 1.5 and on (service) max by (service) (fleet_capacity_connections{kind="used"}) > 100',
        wait: '15m',
        summary: 'One instance of {{ $labels.service }} has far more connections than the others.',
      }),
      alert('SlowConsumers', 'ticket', {
        expr: 'sum by (instance) (rate(gateway_slow_consumer_actions_total[5m])) > 1',
        wait: '10m',
        summary: '{{ $labels.instance }} disconnects slow consumers.',
      }),
      alert('HandshakesRejected', 'ticket', {
        expr: 'sum(rate(gateway_handshakes_total{result="rejected_overload"}[5m])) / sum(rate(gateway_handshakes_total[5m])) > 0.01',
        wait: '5m',
        summary: 'Gateways reject {{ $value | humanizePercentage }} of the handshakes because of overload.',
      }),
      alert('ReconnectStorm', 'ticket', {
        expr: 'sum(rate(gateway_handshakes_total[1m])) > 100 and sum(rate(gateway_handshakes_total[1m])) > 5 * sum(rate(gateway_handshakes_total[1m] offset 1h))',
        summary: '{{ $value | humanize }} handshakes per second, five times as many as an hour ago.',
      }),
    ],
  },
  {
    name: 'stores',
    rules: [
      alert('DependencyDown', 'page', {
        expr: 'max by (dependency) (service_dependency_up) == 0',
        wait: '1m',
        summary: 'No instance can reach {{ $labels.dependency }}.',
      }),
      alert('PostgresReadOnly', 'page', {
        expr: 'db_client_primary == 0',
        wait: '1m',
        summary: '{{ $labels.instance }} is connected to a read-only Postgres.',
      }),
      alert('PoolExhausted', 'ticket', {
        expr: 'max by (instance) (db_client_connections_pending) > 0',
        wait: '1m',
        summary: 'Requests of {{ $labels.instance }} are waiting for database connections.',
      }),
      alert('RedisClientNotReady', 'ticket', {
        expr: 'max by (instance, client) (redis_client_status{status!="ready"}) == 1',
        wait: '1m',
        summary: '{{ $labels.instance }} has lost the connection {{ $labels.client }} to Redis.',
      }),
      alert('RedisRejected', 'page', {
        expr: 'sum by (reason) (rate(redis_client_command_errors_total{reason=~"oom|readonly"}[5m])) > 0',
        wait: '1m',
        summary: 'Redis rejects writes: {{ $labels.reason }}.',
      }),
    ],
  },
  {
    name: 'process',
    rules: [
      alert('EventLoopStalled', 'ticket', {
        expr: 'max by (instance) (service_event_loop_delay_seconds) > 0.25',
        wait: '5m',
        summary: 'The event loop of {{ $labels.instance }} is blocked for more than 250 ms (p99).',
      }),
      alert('SessionRevocationSlow', 'page', {
        expr: 'histogram_quantile(0.99, sum by (le) (rate(session_revocation_propagation_seconds_bucket[5m]))) > 2',
        wait: '5m',
        summary: 'Connections of ended sessions stay open for more than two seconds.',
      }),
      alert('HeapNearLimit', 'ticket', {
        expr: 'max by (instance) (nodejs_heap_size_used_bytes) > 0.85 * max by (instance) (service_heap_limit_bytes)',
        wait: '10m',
        summary: 'The heap of {{ $labels.instance }} is nearly full.',
      }),
      alert('SessionSweeperStale', 'ticket', {
        expr: 'time() - max(session_sweeper_last_success_timestamp_seconds) > 7200',
        wait: '5m',
        summary: 'The session sweeper has not succeeded for two hours.',
      }),
      alert('SigningKeyOld', 'ticket', {
        expr: 'max(session_signing_key_age_seconds{key="active"}) > 35 * 86400',
        wait: '1h',
        summary: 'The key that signs sessions is older than 35 days.',
      }),
      alert('OutboxWaiting', 'ticket', {
        expr: 'max(session_outbox_waiting) > 0',
        wait: '5m',
        summary: 'Session changes are waiting in the outbox.',
      }),
    ],
  },
];
