import { atMost, COUNT, counter, gauge, histogram, LONG, SIZE, STD } from './metric.ts';

const clients = { row: 'Connections' };
const traffic = { row: 'Traffic' };
const continuity = { row: 'Continuity' };
const trouble = { row: 'Trouble' };
const bus = { row: 'Bus' };
const application = { row: 'Application' };

const CALLBACK = ['subscribe', 'publish', 'rpc'] as const;

/** What a gateway tells. */
export const GATEWAY = {
  gateway_connections: gauge('Open sockets by endpoint.', {
    labels: { transport: ['ws', 'plain'] },
    panel: { ...clients, by: ['transport'], as: 'sum' },
  }),
  gateway_connections_limit: gauge('Sockets that this gateway may have.', {
    panel: { ...clients, as: 'sum' },
  }),
  gateway_users: gauge('Users with local connections.', { panel: { ...clients, as: 'sum' } }),
  gateway_connection_duration_seconds: histogram('How long connections have lasted, when they end.', {
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
  gateway_admission_queue_length: gauge('Checks of credentials that wait for their turn.', {
    panel: { ...clients, as: 'sum' },
  }),
  gateway_admission_wait_seconds: histogram('How long checks that had to wait did wait.', {
    buckets: STD,
    panel: clients,
  }),
  gateway_disconnects_total: counter('Connections that ended, by who ended them and the close code.', {
    labels: {
      initiator: ['client', 'server', 'network'],
      code: atMost(33, 'codes are those of the protocol and of RFC 6455, and `other`'),
    },
    // A code belongs to one or two sides.
    combinations: 60,
    panel: { ...clients, by: ['initiator', 'code'] },
  }),
  gateway_drain_remaining_connections: gauge('Connections still to be closed by a drain.', {
    panel: { ...clients, by: ['instance'], as: 'max' },
  }),
  gateway_drained_connections_total: counter(
    'Connections sent to other replicas: closed in order, or cut because they did not answer in time.',
    {
      labels: { result: ['closed', 'cut'] },
      zero: true,
      panel: { ...clients, by: ['result'] },
    },
  ),
  gateway_heartbeat_rtt_seconds: histogram('Time from ping to pong.', { buckets: STD, panel: clients }),
  gateway_heartbeat_timeouts_total: counter('Connections closed for their silence.', {
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
  gateway_message_bytes_total: counter(
    'Bytes of frames from protocol clients, and of publications to sockets.',
    {
      labels: { direction: ['in', 'out'] },
      zero: true,
      panel: traffic,
    },
  ),
  gateway_message_size_bytes: histogram('Size of publications heard from the bus.', {
    labels: { direction: ['out'] },
    buckets: SIZE,
    panel: traffic,
  }),
  gateway_fanout_recipients: histogram('Local members per publication.', { buckets: COUNT, panel: traffic }),
  gateway_delivery_latency_seconds: histogram(
    'From a publish call on any gateway to the hand-over to the sockets here, of one publication in sixteen.',
    { buckets: STD, panel: traffic },
  ),
  gateway_publish_duration_seconds: histogram('Time from a publish command to the acceptance by the bus.', {
    labels: { result: ['ok', 'error'] },
    buckets: STD,
    panel: { ...traffic, by: ['result'] },
  }),
  gateway_api_calls_total: counter('Calls of the server API, those in a batch too.', {
    labels: {
      method: atMost(30, 'methods are those of the server API, and `unknown`'),
      result: atMost(20, 'results are `ok`, the error codes of the protocol and `application`'),
    },
    combinations: 90,
    panel: { ...traffic, by: ['method', 'result'] },
  }),
  gateway_sequence_gaps_total: counter('Holes between what the bus brought and what is kept, by outcome.', {
    labels: { outcome: ['repaired', 'lost'] },
    zero: true,
    panel: { ...continuity, by: ['outcome'] },
  }),
  gateway_recoveries_total: counter('Subscriptions that asked to catch up, by result.', {
    labels: { result: ['complete', 'resync'] },
    zero: true,
    panel: { ...continuity, by: ['result'] },
  }),
  gateway_recovery_duration_seconds: histogram(
    'Time in which a client that came back was brought up to date, or told that it cannot be.',
    { buckets: STD, panel: continuity },
  ),
  gateway_recovered_messages_total: counter('Publications given to clients that came back.', {
    zero: true,
    panel: continuity,
  }),
  gateway_credentials_refused_total: counter(
    'Handshakes, `connect` commands and calls of the server API refused for their credential, origin or form, by reason.',
    {
      labels: {
        at: ['handshake', 'connect', 'api'],
        reason: atMost(30, 'reasons are faults of tokens and codes of problems'),
      },
      combinations: 40,
      panel: { ...trouble, by: ['at', 'reason'] },
    },
  ),
  gateway_refusals_total: counter('Frames and commands that broke the protocol, by reason.', {
    labels: { reason: atMost(40, 'reasons are those that the codec and the handlers name') },
    panel: { ...trouble, by: ['reason'] },
  }),
  gateway_command_errors_total: counter('Commands answered with an error, by code.', {
    labels: { code: atMost(20, 'codes are the error codes of the protocol') },
    panel: { ...trouble, by: ['code'] },
  }),
  gateway_send_buffer_bytes: gauge('Bytes that wait for clients.', { panel: { ...trouble, as: 'sum' } }),
  gateway_slow_consumers: gauge('Connections for which more than 64 KiB wait.', {
    panel: { ...trouble, as: 'sum' },
  }),
  gateway_slow_consumer_actions_total: counter('What was done about connections that read too slowly.', {
    labels: { action: ['disconnect', 'lag', 'caught_up', 'resync', 'stalled'] },
    zero: true,
    panel: { ...trouble, by: ['action'] },
  }),
  gateway_rate_limited_total: counter(
    'Commands, publications, groups, answers and connections above a limit, by the limit.',
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
      panel: { ...trouble, by: ['scope'] },
    },
  ),
  gateway_token_checks_total: counter('Tokens of the application: accepted, or why not.', {
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
  gateway_token_key_fetches_total: counter('Fetches of the published keys of the application.', {
    labels: { result: ['ok', 'error'] },
    zero: true,
    panel: { ...application, by: ['result'] },
  }),
  gateway_callbacks_total: counter('Questions to the application, by outcome.', {
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
  gateway_callback_duration_seconds: histogram('Time that the application took to answer.', {
    labels: { kind: CALLBACK },
    buckets: STD,
    panel: { ...application, by: ['kind'] },
  }),
  gateway_callbacks_in_flight: gauge('Questions to the application that wait for an answer.', {
    panel: { ...application, as: 'sum' },
  }),
  gateway_bus_messages_total: counter('Messages given to and heard from the bus.', {
    labels: { direction: ['in', 'out', 'unreadable'] },
    zero: true,
    panel: { ...bus, by: ['direction'] },
  }),
  gateway_bus_subscriptions: gauge('Groups that the bus delivers here.', { panel: { ...bus, as: 'sum' } }),
  gateway_bus_roundtrip_seconds: histogram('A word to ourselves over the bus.', {
    buckets: STD,
    panel: bus,
  }),
  gateway_bus_canary_last_success_timestamp_seconds: gauge(
    'When the bus last brought back what we had given it.',
    { panel: { ...bus, by: ['instance'], as: 'age' } },
  ),
} as const;
