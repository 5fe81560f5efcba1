import { field } from '@muster/kit/config';
import { ceiling } from '@muster/kit/config-limits';

/** Variables that hold something down. Each is marked with its refusal, metric and rule, for the table in docs/operations/sizing.md. */
export const limitSettings = {
  MAX_MESSAGE_BYTES: field
    .bytes(65_536, { min: 1_024, max: 16_777_216 })
    .describe(
      'longest message from a client; more closes with 1009; a frame of several may have 4 KiB for each of MAX_SUBSCRIPTIONS',
    )
    .meta(
      ceiling(
        'bytes of a message from a client',
        'close 1009',
        'gateway_disconnects_total{code="1009"}',
        'FR10',
      ),
    ),
  MAX_SEND_BUFFER_BYTES: field
    .bytes(1_048_576, { min: 4_096 })
    .describe('bytes that may wait for a client that reads slowly; more closes with 3008')
    .meta(
      ceiling(
        'bytes that wait for a client',
        'close 3008, or skipped (`slow_policy`)',
        'gateway_slow_consumer_actions_total',
        'OB3',
      ),
    ),
  MAX_PUBLICATION_BYTES: field
    .bytes(262_144, { min: 1_024 })
    .describe(
      'bytes of one publication; more is error 107; at most half of MAX_SEND_BUFFER_BYTES, and by default no more than a quarter of it',
    )
    .meta(
      ceiling(
        'bytes of a publication',
        'error 107, or 413',
        'gateway_refusals_total{reason="too_large"}',
        'SZ1',
      ),
    ),
  MAX_CONNECTIONS: field
    .count(10_000, { min: 1 })
    .describe('sockets of this replica; further upgrades get 503 with Retry-After')
    .meta(
      ceiling(
        'sockets of a replica',
        '503 with `Retry-After`',
        'gateway_handshakes_total{result="rejected_overload"}',
        'HS7',
      ),
    ),
  MAX_COMMANDS_PER_S: field
    .count(2_000, { min: 0, max: 1_000_000 })
    .describe('commands of one client per second, twice as many in a burst; 0 for no limit')
    .meta(
      ceiling(
        'commands of a connection per second',
        'error 111, then close 3013',
        'gateway_rate_limited_total{scope="connection"}',
        'RL1',
      ),
    ),
  MAX_CONNECTIONS_PER_USER: field
    .count(1_000, { min: 0 })
    .describe('connections of one user on this replica; more get error 111 (temporary); 0 for no limit')
    .meta(
      ceiling(
        'connections of a user and replica',
        'error 111, or 429',
        'gateway_rate_limited_total{scope="user"}',
        'LM1',
      ),
    ),
  MAX_CONNECTIONS_PER_SESSION: field
    .count(1_000, { min: 0 })
    .describe('connections of one session on this replica; more get error 111 (temporary); 0 for no limit')
    .meta(
      ceiling(
        'connections of a session and replica',
        'error 111, or 429',
        'gateway_rate_limited_total{scope="session"}',
        'LM1',
      ),
    ),
  MAX_CONNECTIONS_PER_IP: field
    .count(5_000, { min: 0 })
    .describe(
      'sockets of one IPv4 address or IPv6 /64 on this replica; more upgrades get 429; 0 for no limit',
    )
    .meta(
      ceiling(
        'sockets of an address and replica',
        '429 with `Retry-After`',
        'gateway_rate_limited_total{scope="ip"}',
        'LM2',
      ),
    ),
  HANDSHAKE_QUEUE: field
    .count(5_000, { min: 0 })
    .describe(
      'credentials that may wait for that; beyond it upgrades get 503 with Retry-After, `connect` error 100',
    )
    .meta(
      ceiling(
        'credentials that wait',
        '503 with `Retry-After`, or error 100',
        'gateway_rate_limited_total{scope="admission"}',
        'AD2',
      ),
    ),
  MAX_SUBSCRIPTIONS: field
    .count(128, { min: 1, max: 10_000 })
    .describe('groups of one connection')
    .meta(
      ceiling(
        'groups of a connection',
        'error 106, or close 3505',
        'gateway_command_errors_total{code="106"}',
        'NS7',
      ),
    ),
  MAX_SUBSCRIPTIONS_PER_SESSION: field
    .count(5_000, { min: 0 })
    .describe(
      'groups of all connections of one session on this replica together; more are error 106 (111 in `connect`); 0 for no limit',
    )
    .meta(
      ceiling(
        'groups of a session and replica',
        'error 106, or 111',
        'gateway_rate_limited_total{scope="session_groups"}',
        'LM3',
      ),
    ),
  MAX_NEW_GROUPS_PER_MINUTE: field
    .count(1_000, { min: 0 })
    .describe(
      'groups that one session opens per minute and in a burst, where nobody on this replica is in them; more are error 111; 0 for no limit',
    )
    .meta(
      ceiling(
        'new groups of a session per minute',
        'error 111, or 429',
        'gateway_rate_limited_total{scope="new_groups"}',
        'LM4',
      ),
    ),
  MAX_PUBLISHED_BYTES_PER_S: field
    .bytes(1_048_576, { min: 0 })
    .describe(
      'bytes that one session publishes per second, sixty times as many in a burst; more is error 111; 0 for no limit',
    )
    .meta(
      ceiling(
        'bytes that a session publishes per second',
        'error 111',
        'gateway_rate_limited_total{scope="published_bytes"}',
        'LM5',
      ),
    ),
  MAX_READ_BYTES_PER_S: field
    .bytes(4_194_304, { min: 0 })
    .describe(
      'bytes of `history` and of missed publications that one session reads from Redis per second, four times as many in a burst; more waits; 0 for no limit',
    )
    .meta(
      ceiling(
        'bytes of history that a session reads per second',
        'the answer comes later',
        'gateway_rate_limited_total{scope="read_bytes"}',
        'SW11',
      ),
    ),
  MAX_PRESENCE_CLIENTS: field
    .count(10_000, { min: 0 })
    .describe('clients in one answer to `presence`; a larger group is error 106; 0 for no limit')
    .meta(
      ceiling('clients in an answer', 'error 106', 'gateway_rate_limited_total{scope="presence"}', 'LM6'),
    ),
  MAX_BATCH_ANSWER_BYTES: field
    .bytes(16_777_216, { min: 65_536 })
    .describe('bytes of the answers to one `batch` of the server API; a reading call beyond it is error 106')
    .meta(
      ceiling(
        'bytes of the answers to a batch',
        'error 106 for the call',
        'gateway_rate_limited_total{scope="batch_answer"}',
        'AP23',
      ),
    ),
};
