import { atMost, COUNT, counter, gauge, histogram, LONG, SIZE, STD } from './metric.ts';

const clients = { row: 'Connections' };
const traffic = { row: 'Traffic' };
const recovery = { row: 'Recovery' };
const errors = { row: 'Errors and limits' };
const bus = { row: 'Bus' };
const application = { row: 'Application' };

const CALLBACK = ['subscribe', 'publish', 'rpc'] as const;

/** Metrics of a gateway. */
export const GATEWAY = {
  gateway_connections: gauge('Open sockets by endpoint.', {
    labels: { transport: ['ws', 'plain'] },
    panel: { ...clients, by: ['transport'], as: 'sum' },
  }),
  gateway_connections_limit: gauge('Limit of open sockets.', {
    panel: { ...clients, as: 'sum' },
  }),
  gateway_users: gauge('Users with local connections.', { panel: { ...clients, as: 'sum' } }),
  gateway_connection_duration_seconds: histogram('Lifetime of connections, observed at their close.', {
    buckets: LONG,
    panel: clients,
  }),
  gateway_sessions: gauge('Sessions with local connections.', { panel: { ...clients, as: 'sum' } }),
  gateway_groups: gauge('Groups with local members.', { panel: { ...clients, as: 'sum' } }),
  gateway_subscriptions: gauge('Memberships of local connections.', { panel: { ...clients, as: 'sum' } }),
  gateway_handshakes_total: counter('Upgrade requests by result.', {
    labels: {
      result: [
        'accepted',
        'rejected_auth',
        'rejected_origin',
        'rejected_bad_request',
        'rejected_limit',
        'rejected_overload',
        'rejected_draining',
        'error',
      ],
    },
    zero: true,
    panel: { ...clients, by: ['result'] },
  }),
  gateway_handshake_duration_seconds: histogram('Duration of upgrades.', { buckets: STD, panel: clients }),
  gateway_admission_queue_length: gauge('Credential checks in the handshake queue.', {
    panel: { ...clients, as: 'sum' },
  }),
  gateway_admission_wait_seconds: histogram('Wait of queued credential checks.', {
    buckets: STD,
    panel: clients,
  }),
  gateway_disconnects_total: counter('Closed connections by initiator and close code.', {
    labels: {
      initiator: ['client', 'server', 'network'],
      code: atMost(33, 'codes are those of the protocol and of RFC 6455, and `other`'),
    },
    // A code belongs to one or two sides.
    combinations: 60,
    panel: { ...clients, by: ['initiator', 'code'] },
  }),
  gateway_drain_remaining_connections: gauge('Connections that a drain has yet to close.', {
    panel: { ...clients, by: ['instance'], as: 'max' },
  }),
  gateway_rebalanced_connections_total: counter(
    'Connections moved to other gateways by a rebalance: moved by the client, closed, or closed late.',
    {
      labels: { result: ['moved', 'closed', 'late'] },
      zero: true,
      panel: { ...clients, by: ['result'] },
    },
  ),
  gateway_drained_connections_total: counter(
    'Connections drained to other replicas: moved by the client, closed in order, closed late, or cut after the timeout.',
    {
      labels: { result: ['moved', 'closed', 'late', 'cut'] },
      zero: true,
      panel: { ...clients, by: ['result'] },
    },
  ),
  gateway_heartbeat_rtt_seconds: histogram('Time from ping to pong.', { buckets: STD, panel: clients }),
  gateway_heartbeat_timeouts_total: counter('Connections closed because of a missing pong.', {
    zero: true,
    panel: clients,
  }),
  gateway_messages_total: counter('Messages from and to clients.', {
    labels: {
      direction: ['in', 'out'],
      type: atMost(20, 'types are the commands and pushes of the protocol'),
    },
    panel: { ...traffic, by: ['direction', 'type'] },
  }),
  gateway_message_bytes_total: counter('Bytes of frames from protocol clients, and of publications to sockets.', {
    labels: { direction: ['in', 'out'] },
    zero: true,
    panel: traffic,
  }),
  gateway_message_size_bytes: histogram('Size of publications received from the bus.', {
    labels: { direction: ['out'] },
    buckets: SIZE,
    panel: traffic,
  }),
  gateway_fanout_recipients: histogram('Local members per publication.', { buckets: COUNT, panel: traffic }),
  gateway_delivery_latency_seconds: histogram(
    'Time from a publish call on any gateway to the socket writes of this gateway, for one publication in sixteen.',
    { buckets: STD, panel: traffic },
  ),
  gateway_publish_duration_seconds: histogram('Time from a publish command to its acceptance by the bus.', {
    labels: { result: ['ok', 'error'] },
    buckets: STD,
    panel: { ...traffic, by: ['result'] },
  }),
  gateway_api_calls_total: counter('Calls of the server API, including those of a batch.', {
    labels: {
      method: atMost(30, 'methods are those of the server API, and `unknown`'),
      result: atMost(20, 'results are `ok`, the error codes of the protocol and `application`'),
    },
    combinations: 90,
    panel: { ...traffic, by: ['method', 'result'] },
  }),
  gateway_sequence_gaps_total: counter('Gaps in the offsets of received publications, by outcome.', {
    labels: { outcome: ['repaired', 'lost'] },
    zero: true,
    panel: { ...recovery, by: ['outcome'] },
  }),
  gateway_recoveries_total: counter('Recovery requests of subscriptions by result.', {
    labels: { result: ['complete', 'resync'] },
    zero: true,
    panel: { ...recovery, by: ['result'] },
  }),
  gateway_recovery_duration_seconds: histogram('Duration of the recovery of a subscription, whether complete or not.', {
    buckets: STD,
    panel: recovery,
  }),
  gateway_recovered_messages_total: counter('Publications delivered by recovery.', {
    zero: true,
    panel: recovery,
  }),
  gateway_credentials_refused_total: counter(
    'Handshakes, `connect` commands and server API calls refused for credential, origin or form, by reason.',
    {
      labels: {
        at: ['handshake', 'connect', 'api'],
        reason: atMost(30, 'reasons are faults of tokens and codes of problems'),
      },
      combinations: 40,
      panel: { ...errors, by: ['at', 'reason'] },
    },
  ),
  gateway_refusals_total: counter('Frames and commands that violate the protocol, by reason.', {
    labels: { reason: atMost(40, 'reasons are those that the codec and the handlers name') },
    panel: { ...errors, by: ['reason'] },
  }),
  gateway_command_errors_total: counter('Commands answered with an error, by code.', {
    labels: { code: atMost(20, 'codes are the error codes of the protocol') },
    panel: { ...errors, by: ['code'] },
  }),
  gateway_send_buffer_bytes: gauge('Bytes in the send buffers of all clients.', {
    panel: { ...errors, as: 'sum' },
  }),
  gateway_slow_consumers: gauge('Connections with more than 64 KiB in their send buffer.', {
    panel: { ...errors, as: 'sum' },
  }),
  gateway_slow_consumer_actions_total: counter('Actions on slow consumers.', {
    labels: { action: ['disconnect', 'lag', 'caught_up', 'resync', 'stalled'] },
    zero: true,
    panel: { ...errors, by: ['action'] },
  }),
  gateway_rate_limited_total: counter(
    'Commands, publications, groups, answers and connections refused by a limit, by limit.',
    {
      labels: {
        scope: [
          'connection',
          'group',
          'user',
          'session',
          'ip',
          'admission',
          'session_groups',
          'new_groups',
          'published_bytes',
          'presence',
          'batch_answer',
          'read_bytes',
        ],
      },
      zero: true,
      panel: { ...errors, by: ['scope'] },
    },
  ),
  gateway_token_checks_total: counter('Application tokens by result: accepted, or the fault.', {
    labels: {
      kind: ['connection', 'subscription'],
      result: [
        'accepted',
        'expired',
        'unavailable',
        'no_user',
        'tenant',
        'too_long',
        'malformed',
        'type',
        'algorithm',
        'unknown_key',
        'signature',
        'issuer',
        'audience',
        'not_yet',
        'sub_not_text',
        'claims',
      ],
    },
    panel: { ...application, by: ['kind', 'result'] },
  }),
  gateway_token_key_fetches_total: counter('Fetches of the JWKS of the application.', {
    labels: { result: ['ok', 'error'] },
    zero: true,
    panel: { ...application, by: ['result'] },
  }),
  gateway_callbacks_total: counter('Callbacks to the application by outcome.', {
    labels: {
      kind: CALLBACK,
      outcome: [
        'ok',
        'error',
        'disconnect',
        'timeout',
        'unreachable',
        'bad_status',
        'bad_answer',
        'too_many',
        'not_tried',
      ],
    },
    zero: true,
    panel: { ...application, by: ['kind', 'outcome'] },
  }),
  gateway_callback_duration_seconds: histogram('Duration of callbacks to the application.', {
    labels: { kind: CALLBACK },
    buckets: STD,
    panel: { ...application, by: ['kind'] },
  }),
  gateway_callbacks_in_flight: gauge('Callbacks to the application in flight.', {
    panel: { ...application, as: 'sum' },
  }),
  gateway_bus_messages_total: counter('Messages published to and received from the bus.', {
    labels: { direction: ['in', 'out', 'unreadable'] },
    zero: true,
    panel: { ...bus, by: ['direction'] },
  }),
  gateway_bus_subscriptions: gauge('Groups that are subscribed on the bus.', {
    panel: { ...bus, as: 'sum' },
  }),
  gateway_bus_roundtrip_seconds: histogram('Round trip of a loopback probe over the bus.', {
    buckets: STD,
    panel: bus,
  }),
  gateway_bus_canary_last_success_timestamp_seconds: gauge('Time of the last successful loopback probe over the bus.', {
    panel: { ...bus, by: ['instance'], as: 'age' },
  }),
} as const;
