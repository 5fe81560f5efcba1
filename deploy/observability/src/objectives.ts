/** A service level objective: the share of good events over 30 days. */
export interface Objective {
  /** Value of the label `slo`. */
  readonly name: string;
  readonly title: string;
  /** Required share of good events, 0 to 1. */
  readonly target: number;
  /** PromQL: events per second, and bad events per second, over `$window`. */
  readonly events: string;
  readonly bad: string;
  /** Texts of the runbook: the impact of a burn, and where to look. */
  readonly means: string;
  readonly look: string;
}

const requests = 'http_server_request_duration_seconds_count';
const v1 = 'service="session-service",http_route=~"/v1/.*"';
const ours = 'result!~"rejected_auth|rejected_origin|rejected_bad_request|rejected_limit"';

export const OBJECTIVES: readonly Objective[] = [
  {
    name: 'session-availability',
    title: 'Requests to the session service succeed',
    target: 0.9995,
    events: `sum(rate(${requests}{${v1}}[$window]))`,
    bad: `sum(rate(${requests}{${v1},http_response_status_code=~"5.."}[$window]))`,
    means:
      'Requests to `/v1/…` of the session service fail with 5xx. Users cannot sign in, or their applications retry.',
    look:
      'By route: `sum by (http_route, http_response_status_code) (rate(http_server_request_duration_seconds_count{http_response_status_code=~"5.."}[5m]))`. ' +
      'The usual cause is a store: see DependencyDown, PostgresReadOnly and PoolExhausted.',
  },
  {
    name: 'session-latency',
    title: 'Sessions are checked within 25 ms',
    target: 0.99,
    events: 'sum(rate(session_validation_duration_seconds_count[$window]))',
    bad:
      'sum(rate(session_validation_duration_seconds_count[$window])) - ' +
      'sum(rate(session_validation_duration_seconds_bucket{le="0.025"}[$window]))',
    means: 'Session checks take longer than 25 ms. Every request of an application waits for a check.',
    look:
      'The share of `source="postgres"` in `session_validations_total`: if it has grown, the cache is cold or Redis is unavailable. ' +
      'Else `redis_client_command_duration_seconds`, `db_client_operation_duration_seconds` and the event loop.',
  },
  {
    name: 'gateway-connect',
    title: 'Valid clients can connect',
    target: 0.999,
    events: `sum(rate(gateway_handshakes_total{${ours}}[$window]))`,
    bad: 'sum(rate(gateway_handshakes_total{result=~"rejected_overload|rejected_draining|error"}[$window]))',
    means: 'Valid clients are rejected during the handshake. They retry later.',
    look:
      '`result` of `gateway_handshakes_total`. `rejected_overload`: add a replica, see GatewayNearLimit. ' +
      '`rejected_draining`: the load balancer still sends clients to a draining instance. `error`: the session service or Redis.',
  },
  {
    name: 'delivery',
    title: 'Publications reach the sockets of every gateway within 250 ms',
    target: 0.99,
    events: 'sum(rate(gateway_delivery_latency_seconds_count[$window]))',
    bad:
      'sum(rate(gateway_delivery_latency_seconds_count[$window])) - ' +
      'sum(rate(gateway_delivery_latency_seconds_bucket{le="0.25"}[$window]))',
    means:
      'Messages are late: more than 250 ms between a publish call and the write to the sockets. One in sixteen is measured.',
    look:
      'By instance: `histogram_quantile(0.99, sum by (le, instance) (rate(gateway_delivery_latency_seconds_bucket[5m])))`. One instance: its ' +
      'event loop and its processor. All: `gateway_bus_roundtrip_seconds`, then Redis. Clock skew between machines has the same symptom.',
  },
  {
    name: 'recovery',
    title: 'Reconnecting clients recover all missed publications',
    target: 0.999,
    events: 'sum(rate(gateway_recoveries_total[$window]))',
    bad: 'sum(rate(gateway_recoveries_total{result="resync"}[$window]))',
    means:
      'Reconnecting clients cannot recover, because the missed publications are no longer in the history: they must resynchronise.',
    look:
      'Size and age of the history of the namespaces against how long clients were away. A new epoch of Redis ' +
      '(failover, eviction, flush) has the same symptom: `redis_client_failovers_total`, and `maxmemory-policy` must be `noeviction`.',
  },
  {
    name: 'synthetic-check',
    title: 'A message published on one gateway is received on another',
    target: 0.999,
    events: 'sum(rate(fleet_synthetic_checks_total[$window]))',
    bad: 'sum(rate(fleet_synthetic_checks_total{result="failed"}[$window]))',
    means:
      'The synthetic check creates a session, publishes on one gateway and does not receive the message on another.',
    look: '`step` of `fleet_synthetic_checks_total` is the failed step; see SyntheticCheckFailing.',
  },
];

/** Two windows that must both exceed a burn rate, the multiple of the sustainable rate. */
export interface Burn {
  readonly long: string;
  readonly short: string;
  readonly factor: number;
}

/** Pages: 2 % of the monthly budget within an hour, or 5 % within six hours. */
export const PAGE_BURN_RATES: readonly Burn[] = [
  { long: '1h', short: '5m', factor: 14.4 },
  { long: '6h', short: '30m', factor: 6 },
];
/** Tickets: 10 % of the monthly budget within a day, or within three days. */
export const TICKET_BURN_RATES: readonly Burn[] = [
  { long: '1d', short: '2h', factor: 3 },
  { long: '3d', short: '6h', factor: 1 },
];

/** Events in the long window below which no burn rate is evaluated. */
export const MIN_EVENTS = 100;

const SECONDS: Readonly<Record<string, number>> = { m: 60, h: 3_600, d: 86_400 };

/** Length of a window such as `5m`, seconds. */
export const secondsOf = (window: string): number => Number.parseInt(window, 10) * (SECONDS[window.slice(-1)] ?? 1);
