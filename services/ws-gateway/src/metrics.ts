import type { Metrics } from '@muster/kit/metrics';
import { CloseCode } from '@muster/protocol/codes';
import type { EngineMetrics } from './core/ports.ts';
import type { DrainOutcome } from './drain.ts';
import type { LimitedClient } from './limit-log.ts';
import type { HandshakeResult } from './socket/server.ts';

/** Numbers read from state when the metrics are scraped. */
export interface GatewayState {
  readonly connections: number;
  readonly plain: number;
  readonly groups: number;
  readonly subscriptions: number;
  readonly sessions: number;
  readonly busSubscriptions: number;
  /** Checks of credentials that wait for their turn. */
  readonly admissionQueue: number;
  readonly connectionsLimit: number;
  /** Users with connections here. */
  readonly users: number;
  /** Bytes that wait for all clients together. */
  readonly sendBufferBytes: number;
  /** Connections for which much is waiting. */
  readonly slowConsumers: number;
}

/** The gateway's instruments. */
export interface GatewayMetrics extends EngineMetrics {
  handshake(result: HandshakeResult, seconds: number): void;
  verdict(result: string, source: 'local' | 'redis' | 'service'): void;
  draining(remaining: number): void;
  /** A check of a credential had to wait for its turn. */
  admissionWaited(seconds: number): void;
  /** A connection, or its check, above a limit of its own kind. */
  limited(scope: 'user' | 'session' | 'ip' | 'admission', client?: LimitedClient): void;
  /** A connection that a drain sent away. */
  departed(how: DrainOutcome): void;
}

/** Close codes with a series of their own; all others are `other`. */
const KNOWN_CODES = new Set<number>([1000, 1001, 1002, 1005, 1006, 1007, ...Object.values(CloseCode)]);

export const createGatewayMetrics = (
  metrics: Metrics,
  state: () => GatewayState,
  onLimited: (limit: string, client: LimitedClient) => void,
): GatewayMetrics => {
  gauges(metrics, state);
  const traffic = trafficMetrics(metrics);
  const handshakes = metrics.counter('gateway_handshakes_total');
  const handshakeSeconds = metrics.histogram('gateway_handshake_duration_seconds').with({});
  const disconnects = metrics.counter('gateway_disconnects_total');
  const validations = metrics.counter('session_validations_total');
  const remaining = metrics.gauge('gateway_drain_remaining_connections').with({});
  const waits = metrics.histogram('gateway_admission_wait_seconds').with({});
  const limits = metrics.counter('gateway_rate_limited_total');
  const drained = metrics.counter('gateway_drained_connections_total');
  return {
    ...traffic,
    rateLimited: (scope, identity) => {
      traffic.rateLimited(scope);
      onLimited(scope, { user: identity?.user, session: identity?.sessionId });
    },
    handshake: (result, seconds) => {
      handshakes.inc({ result });
      handshakeSeconds.observe(seconds);
    },
    disconnected: (initiator, code) => {
      disconnects.inc({ initiator, code: KNOWN_CODES.has(code) ? String(code) : 'other' });
    },
    verdict: (result, source) => validations.inc({ result, source }),
    admissionWaited: (seconds) => waits.observe(seconds),
    limited: (scope, client = {}) => {
      limits.inc({ scope });
      onLimited(scope, client);
    },
    draining: (count) => remaining.set(count),
    departed: (result) => drained.inc({ result }),
  };
};

const gauges = (metrics: Metrics, state: () => GatewayState): void => {
  const connections = metrics.gauge('gateway_connections');
  const others = (
    [
      ['gateway_groups', 'groups'],
      ['gateway_subscriptions', 'subscriptions'],
      ['gateway_sessions', 'sessions'],
      ['gateway_bus_subscriptions', 'busSubscriptions'],
      ['gateway_admission_queue_length', 'admissionQueue'],
      ['gateway_connections_limit', 'connectionsLimit'],
      ['gateway_users', 'users'],
      ['gateway_send_buffer_bytes', 'sendBufferBytes'],
      ['gateway_slow_consumers', 'slowConsumers'],
    ] as const
  ).map(([name, key]) => ({ key, gauge: metrics.gauge(name).with({}) }));
  metrics.onCollect(() => {
    const now = state();
    connections.set({ transport: 'ws' }, now.connections);
    connections.set({ transport: 'plain' }, now.plain);
    for (const { key, gauge } of others) gauge.set(now[key]);
  });
};

const trafficMetrics = (metrics: Metrics): Omit<EngineMetrics, 'disconnected'> => {
  const messages = metrics.counter('gateway_messages_total');
  const bytes = metrics.counter('gateway_message_bytes_total').with({ direction: 'out' });
  const bytesIn = metrics.counter('gateway_message_bytes_total').with({ direction: 'in' });
  const latency = metrics.histogram('gateway_delivery_latency_seconds').with({});
  const durations = metrics.histogram('gateway_connection_duration_seconds').with({});
  const sizes = metrics.histogram('gateway_message_size_bytes').with({ direction: 'out' });
  const recipients = metrics.histogram('gateway_fanout_recipients').with({});
  const delivered = messages.with({ direction: 'out', type: 'publication' });
  const received = labelled((type) => messages.with({ direction: 'in', type }));
  const sent = labelled((type) => messages.with({ direction: 'out', type }));
  return {
    received: (type) => received(type).inc(),
    sent: (type) => sent(type).inc(),
    receivedBytes: (count) => bytesIn.inc(count),
    delivered: (seconds) => latency.observe(seconds),
    lived: (seconds) => durations.observe(seconds),
    fannedOut: (count, size) => {
      recipients.observe(count);
      sizes.observe(size);
      delivered.inc(count);
      bytes.inc(count * size);
    },
    ...troubleMetrics(metrics),
    ...continuityMetrics(metrics),
  };
};

const troubleMetrics = (
  metrics: Metrics,
): Pick<
  EngineMetrics,
  'refused' | 'failed' | 'published' | 'slowConsumer' | 'rateLimited' | 'heartbeat' | 'heartbeatTimeout'
> => {
  const refusals = metrics.counter('gateway_refusals_total');
  const failures = metrics.counter('gateway_command_errors_total');
  const publishing = metrics.histogram('gateway_publish_duration_seconds');
  const slow = metrics.counter('gateway_slow_consumer_actions_total');
  const limited = metrics.counter('gateway_rate_limited_total');
  const rtt = metrics.histogram('gateway_heartbeat_rtt_seconds').with({});
  const timeouts = metrics.counter('gateway_heartbeat_timeouts_total').with({});
  const published = { ok: publishing.with({ result: 'ok' }), error: publishing.with({ result: 'error' }) };
  return {
    refused: (reason) => refusals.inc({ reason }),
    failed: (code) => failures.inc({ code: String(code) }),
    published: (result, seconds) => published[result].observe(seconds),
    slowConsumer: (action) => slow.inc({ action }),
    rateLimited: (scope) => limited.inc({ scope }),
    heartbeat: (seconds) => rtt.observe(seconds),
    heartbeatTimeout: () => timeouts.inc(),
  };
};

const continuityMetrics = (metrics: Metrics): Pick<EngineMetrics, 'gap' | 'recovered' | 'recoveryTook'> => {
  const gaps = metrics.counter('gateway_sequence_gaps_total');
  const recoveries = metrics.counter('gateway_recoveries_total');
  const publications = metrics.counter('gateway_recovered_messages_total').with({});
  const durations = metrics.histogram('gateway_recovery_duration_seconds').with({});
  return {
    recoveryTook: (seconds) => durations.observe(seconds),
    gap: (outcome) => gaps.inc({ outcome }),
    recovered: (result, count) => {
      recoveries.inc({ result });
      publications.inc(count);
    },
  };
};

/** Keeps the child of each label value, so that hot code does not look it up by a label object. */
const labelled = <T>(make: (value: string) => T): ((value: string) => T) => {
  const children = new Map<string, T>();
  return (value) => {
    const known = children.get(value);
    if (known !== undefined) return known;
    const child = make(value);
    children.set(value, child);
    return child;
  };
};
