import type { Clock } from '@muster/kit/clock';
import type { Logger } from '@muster/kit/logger';
import type { Metrics } from '@muster/kit/metrics';
import { CloseCode } from '@muster/protocol/codes';
import type { AnyConnection } from './core/connection/any-connection.ts';
import type { EngineMetrics } from './core/ports.ts';
import { userKeyOf } from './core/ports.ts';
import type { DrainOutcome } from './drain.ts';
import type { MoveOutcome } from './moves.ts';

/** Result of an upgrade; the `result` label of `gateway_handshakes_total`. */
export type HandshakeResult =
  | 'accepted'
  | 'rejected_auth'
  | 'rejected_origin'
  | 'rejected_bad_request'
  | 'rejected_limit'
  | 'rejected_overload'
  | 'rejected_draining'
  | 'error';

/** Values read when the metrics are scraped. */
export interface GatewayState {
  readonly connections: number;
  readonly plain: number;
  readonly groups: number;
  readonly subscriptions: number;
  readonly sessions: number;
  readonly busSubscriptions: number;
  /** Length of the handshake queue. */
  readonly handshakeQueue: number;
  readonly connectionsLimit: number;
  /** Distinct users with a connection to this gateway. */
  readonly users: number;
  /** Bytes pending for all clients together. */
  readonly sendBufferBytes: number;
  /** Connections with more than {@link SLOW_BYTES} pending. */
  readonly slowConsumers: number;
}

export interface GatewayMetrics extends EngineMetrics {
  handshake(result: HandshakeResult, seconds: number): void;
  /** A checked session, and the source that decided. */
  sessionChecked(result: string, source: 'local' | 'redis' | 'service'): void;
  /** Connections left to close by a drain. */
  drainRemaining(count: number): void;
  /** Time of a handshake in the queue. */
  handshakeWaited(seconds: number): void;
  /** A connection or handshake rejected by a limit. */
  limitReached(scope: 'user' | 'session' | 'ip' | 'admission', client?: LimitedClient): void;
  /** A connection moved or closed by a drain. */
  connectionDrained(outcome: DrainOutcome): void;
  /** A connection moved or closed by a rebalance. */
  connectionRebalanced(outcome: MoveOutcome): void;
}

/** Close codes with a label value of their own; all others are `other`. */
const KNOWN_CODES = new Set<number>([1000, 1001, 1002, 1005, 1006, 1007, ...Object.values(CloseCode)]);

export const createGatewayMetrics = (
  metrics: Metrics,
  state: () => GatewayState,
  onLimited: (limit: string, client: LimitedClient) => void,
): GatewayMetrics => {
  gauges(metrics, state);
  const traffic = trafficMetrics(metrics);
  const handshakes = metrics.counter('gateway_handshakes_total');
  const handshakesOf = labelled((result: HandshakeResult) => handshakes.with({ result }));
  const handshakeSeconds = metrics.histogram('gateway_handshake_duration_seconds').with({});
  const disconnects = metrics.counter('gateway_disconnects_total');
  const validations = metrics.counter('session_validations_total');
  const validLocally = validations.with({ result: 'live', source: 'local' });
  const remaining = metrics.gauge('gateway_drain_remaining_connections').with({});
  const waits = metrics.histogram('gateway_admission_wait_seconds').with({});
  const limits = metrics.counter('gateway_rate_limited_total');
  const drained = metrics.counter('gateway_drained_connections_total');
  const rebalanced = metrics.counter('gateway_rebalanced_connections_total');
  return {
    ...traffic,
    rateLimited: (scope, identity) => {
      traffic.rateLimited(scope);
      onLimited(scope, { user: identity?.user, session: identity?.sessionId });
    },
    handshake: (result, seconds) => {
      handshakesOf(result).inc();
      handshakeSeconds.observe(seconds);
    },
    disconnected: (initiator, code) => {
      disconnects.inc({ initiator, code: KNOWN_CODES.has(code) ? String(code) : 'other' });
    },
    sessionChecked: (result, source) => {
      if (result === 'live' && source === 'local') validLocally.inc();
      else validations.inc({ result, source });
    },
    handshakeWaited: (seconds) => waits.observe(seconds),
    limitReached: (scope, client = {}) => {
      limits.inc({ scope });
      onLimited(scope, client);
    },
    drainRemaining: (count) => remaining.set(count),
    connectionDrained: (result) => drained.inc({ result }),
    connectionRebalanced: (result) => rebalanced.inc({ result }),
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
      ['gateway_admission_queue_length', 'handshakeQueue'],
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
    ...errorMetrics(metrics),
    ...recoveryMetrics(metrics),
  };
};

const errorMetrics = (
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

const recoveryMetrics = (metrics: Metrics): Pick<EngineMetrics, 'gap' | 'recovered' | 'recoveryTook'> => {
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

/** Caches the child of each label value: hot code does not look it up by a label object. */
const labelled = <T, V extends string = string>(make: (value: V) => T): ((value: V) => T) => {
  const children = new Map<V, T>();
  return (value) => {
    const known = children.get(value);
    if (known !== undefined) return known;
    const child = make(value);
    children.set(value, child);
    return child;
  };
};

/** Totals over all connections. */
export interface ConnectionStats {
  readonly users: number;
  readonly sendBufferBytes: number;
  readonly slowConsumers: number;
}

/** Pending bytes above which a connection counts as slow. */
const SLOW_BYTES = 65_536;

/** Visits every connection; to be called once per scrape. */
export const connectionStatsOf = (connections: Iterable<AnyConnection>): ConnectionStats => {
  const users = new Set<string>();
  let sendBufferBytes = 0;
  let slowConsumers = 0;
  for (const { identity, lagBytes } of connections) {
    if (identity !== undefined) users.add(userKeyOf(identity));
    sendBufferBytes += lagBytes;
    if (lagBytes > SLOW_BYTES) slowConsumers += 1;
  }
  return { users: users.size, sendBufferBytes, slowConsumers };
};

/** The client that reached a limit, as far as it is known. */
export interface LimitedClient {
  readonly user?: string | undefined;
  readonly session?: string | undefined;
  readonly address?: string | undefined;
}

/** Milliseconds between two log lines about the same limit. */
const PAUSE_MS = 10_000;

/**
 * Logs rejections by limits as `gateway.limit_reached`: the first at once, then one line per limit in ten seconds, with the number of
 * rejections since the last line.
 */
export const createLimitLog = (log: Logger, clock: Clock): ((limit: string, client: LimitedClient) => void) => {
  const lines = new Map<string, { at: number; since: number }>();
  return (limit, client) => {
    const now = clock.monotonic();
    const line = lines.get(limit) ?? { at: Number.NEGATIVE_INFINITY, since: 0 };
    lines.set(limit, line);
    line.since += 1;
    if (now - line.at < PAUSE_MS) return;
    log.info({ limit, ...client, refusals: line.since }, 'gateway.limit_reached');
    line.at = now;
    line.since = 0;
  };
};
