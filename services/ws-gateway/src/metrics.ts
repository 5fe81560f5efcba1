import { COUNT, type Metrics, SIZE, STD } from '@muster/kit/metrics';
import { CloseCode } from '@muster/protocol/codes';
import type { EngineMetrics } from './core/ports.ts';
import type { HandshakeResult } from './socket/server.ts';

/** Numbers read from state when the metrics are scraped. */
export interface GatewayState {
  readonly connections: number;
  readonly plain: number;
  readonly groups: number;
  readonly subscriptions: number;
  readonly sessions: number;
  readonly busSubscriptions: number;
}

/** The gateway's instruments. */
export interface GatewayMetrics extends EngineMetrics {
  handshake(result: HandshakeResult, seconds: number): void;
  verdict(result: string, source: string): void;
  draining(remaining: number): void;
}

const HANDSHAKE_RESULTS: readonly HandshakeResult[] = [
  'accepted',
  'rejected_auth',
  'rejected_origin',
  'rejected_bad_request',
  'rejected_overload',
  'rejected_draining',
  'error',
];
/** Close codes with a series of their own; all others are `other`. */
const KNOWN_CODES = new Set<number>([1000, 1001, 1002, 1005, 1006, 1007, ...Object.values(CloseCode)]);

export const createGatewayMetrics = (metrics: Metrics, state: () => GatewayState): GatewayMetrics => {
  gauges(metrics, state);
  const traffic = trafficMetrics(metrics);
  const handshakes = metrics.counter<'result'>({
    name: 'gateway_handshakes_total',
    help: 'Upgrade requests by result.',
    labels: ['result'],
  });
  for (const result of HANDSHAKE_RESULTS) handshakes.inc({ result }, 0);
  const handshakeSeconds = metrics
    .histogram({ name: 'gateway_handshake_duration_seconds', help: 'Duration of upgrades.', buckets: STD })
    .with({});
  const disconnects = metrics.counter<'initiator' | 'code'>({
    name: 'gateway_disconnects_total',
    help: 'Connections that ended, by who ended them and the close code.',
    labels: ['initiator', 'code'],
  });
  const validations = metrics.counter<'result' | 'source'>({
    name: 'session_validations_total',
    help: 'Verdicts over session tokens.',
    labels: ['result', 'source'],
  });
  const remaining = metrics
    .gauge({
      name: 'gateway_drain_remaining_connections',
      help: 'Connections still to be closed by a drain.',
    })
    .with({});
  return {
    ...traffic,
    handshake: (result, seconds) => {
      handshakes.inc({ result });
      handshakeSeconds.observe(seconds);
    },
    disconnected: (initiator, code) => {
      disconnects.inc({ initiator, code: KNOWN_CODES.has(code) ? String(code) : 'other' });
    },
    verdict: (result, source) => validations.inc({ result, source }),
    draining: (count) => remaining.set(count),
  };
};

const gauges = (metrics: Metrics, state: () => GatewayState): void => {
  const connections = metrics.gauge<'transport'>({
    name: 'gateway_connections',
    help: 'Open sockets by endpoint.',
    labels: ['transport'],
  });
  const others = (
    [
      ['gateway_groups', 'Groups with local members.', 'groups'],
      ['gateway_subscriptions', 'Memberships of local connections.', 'subscriptions'],
      ['gateway_sessions', 'Sessions with local connections.', 'sessions'],
      ['gateway_bus_subscriptions', 'Groups that the bus delivers here.', 'busSubscriptions'],
    ] as const
  ).map(([name, help, key]) => ({ key, gauge: metrics.gauge({ name, help }).with({}) }));
  metrics.onCollect(() => {
    const now = state();
    connections.set({ transport: 'ws' }, now.connections);
    connections.set({ transport: 'plain' }, now.plain);
    for (const { key, gauge } of others) gauge.set(now[key]);
  });
};

const trafficMetrics = (metrics: Metrics): Omit<EngineMetrics, 'disconnected'> => {
  const messages = metrics.counter<'direction' | 'type'>({
    name: 'gateway_messages_total',
    help: 'Messages from and to clients.',
    labels: ['direction', 'type'],
  });
  const bytes = metrics
    .counter<'direction'>({
      name: 'gateway_message_bytes_total',
      help: 'Bytes of publications written to sockets.',
      labels: ['direction'],
    })
    .with({ direction: 'out' });
  const sizes = metrics
    .histogram<'direction'>({
      name: 'gateway_message_size_bytes',
      help: 'Size of publications heard from the bus.',
      labels: ['direction'],
      buckets: SIZE,
    })
    .with({ direction: 'out' });
  const recipients = metrics
    .histogram({ name: 'gateway_fanout_recipients', help: 'Local members per publication.', buckets: COUNT })
    .with({});
  const delivered = messages.with({ direction: 'out', type: 'publication' });
  const received = labelled((type) => messages.with({ direction: 'in', type }));
  const sent = labelled((type) => messages.with({ direction: 'out', type }));
  return {
    received: (type) => received(type).inc(),
    sent: (type) => sent(type).inc(),
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
  const refusals = metrics.counter<'reason'>({
    name: 'gateway_refusals_total',
    help: 'Frames and commands that broke the protocol, by reason.',
    labels: ['reason'],
  });
  const failures = metrics.counter<'code'>({
    name: 'gateway_command_errors_total',
    help: 'Commands answered with an error, by code.',
    labels: ['code'],
  });
  const publishing = metrics.histogram<'result'>({
    name: 'gateway_publish_duration_seconds',
    help: 'Time from a publish command to the acceptance by the bus.',
    labels: ['result'],
    buckets: STD,
  });
  const slow = metrics.counter<'action'>({
    name: 'gateway_slow_consumer_actions_total',
    help: 'What was done about connections that read too slowly.',
    labels: ['action'],
  });
  for (const action of ['disconnect', 'lag', 'caught_up', 'resync']) slow.inc({ action }, 0);
  const limited = metrics
    .counter<'scope'>({
      name: 'gateway_rate_limited_total',
      help: 'Commands and publications above a rate, by whose rate it is.',
      labels: ['scope'],
    })
    .with({ scope: 'connection' });
  const rtt = metrics
    .histogram({ name: 'gateway_heartbeat_rtt_seconds', help: 'Time from ping to pong.', buckets: STD })
    .with({});
  const timeouts = metrics
    .counter({
      name: 'gateway_heartbeat_timeouts_total',
      help: 'Connections closed for their silence.',
    })
    .with({});
  const published = labelled((result) => publishing.with({ result: result as 'ok' }));
  return {
    refused: (reason) => refusals.inc({ reason }),
    failed: (code) => failures.inc({ code: String(code) }),
    published: (result, seconds) => published(result).observe(seconds),
    slowConsumer: (action) => slow.inc({ action }),
    rateLimited: () => limited.inc(),
    heartbeat: (seconds) => rtt.observe(seconds),
    heartbeatTimeout: () => timeouts.inc(),
  };
};

const continuityMetrics = (metrics: Metrics): Pick<EngineMetrics, 'gap' | 'recovered'> => {
  const gaps = metrics.counter<'outcome'>({
    name: 'gateway_sequence_gaps_total',
    help: 'Holes between what the bus brought and what is kept, by outcome.',
    labels: ['outcome'],
  });
  for (const outcome of ['repaired', 'lost']) gaps.inc({ outcome }, 0);
  const recoveries = metrics.counter<'result'>({
    name: 'gateway_recoveries_total',
    help: 'Subscriptions that asked to catch up, by result.',
    labels: ['result'],
  });
  for (const result of ['complete', 'resync']) recoveries.inc({ result }, 0);
  const publications = metrics
    .counter({
      name: 'gateway_recovered_messages_total',
      help: 'Publications given to clients that came back.',
    })
    .with({});
  return {
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
