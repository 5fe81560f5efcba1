import { ceiling, field } from '@muster/kit/config-fields';

/** Variables of limits. Each carries its refusal, metric and rule for the table in docs/operations/sizing.md. */
export const limitSettings = {
  MAX_MESSAGE_BYTES: field
    .bytes(65_536, { min: 1_024, max: 16_777_216 })
    .describe(
      'longest message of a client (close 1009); a frame of several messages may have 4 KiB for each of MAX_SUBSCRIPTIONS',
    )
    .meta(ceiling('bytes of a message of a client', 'close 1009', 'gateway_disconnects_total{code="1009"}', 'FR10')),
  MAX_SEND_BUFFER_BYTES: field
    .bytes(1_048_576, { min: 4_096 })
    .describe('longest send buffer of a client (close 3008)')
    .meta(
      ceiling(
        'bytes in the send buffer of a client',
        'close 3008, or skipped (`slow_policy`)',
        'gateway_slow_consumer_actions_total',
        'OB3',
      ),
    ),
  MAX_PUBLICATION_BYTES: field
    .bytes(262_144, { min: 1_024 })
    .describe(
      'longest publication (error 107); at most half of MAX_SEND_BUFFER_BYTES, and by default at most a quarter of it',
    )
    .meta(ceiling('bytes of a publication', 'error 107, or 413', 'gateway_refusals_total{reason="too_large"}', 'SZ1')),
  MAX_CONNECTIONS: field
    .count(10_000, { min: 1 })
    .describe('sockets per replica; further upgrades are answered 503 with Retry-After')
    .meta(
      ceiling(
        'sockets per replica',
        '503 with `Retry-After`',
        'gateway_handshakes_total{result="rejected_overload"}',
        'HS7',
      ),
    ),
  MAX_COMMANDS_PER_S: field
    .count(2_000, { min: 0, max: 1_000_000 })
    .describe('commands per connection and second (error 111), twice as many in a burst; 0 for no limit')
    .meta(
      ceiling(
        'commands per connection and second',
        'error 111, then close 3013',
        'gateway_rate_limited_total{scope="connection"}',
        'RL1',
      ),
    ),
  MAX_CONNECTIONS_PER_USER: field
    .count(1_000, { min: 0 })
    .describe('connections per user and replica (error 111, temporary); 0 for no limit')
    .meta(
      ceiling(
        'connections per user and replica',
        'error 111, or 429',
        'gateway_rate_limited_total{scope="user"}',
        'LM1',
      ),
    ),
  MAX_CONNECTIONS_PER_SESSION: field
    .count(1_000, { min: 0 })
    .describe('connections per session and replica (error 111, temporary); 0 for no limit')
    .meta(
      ceiling(
        'connections per session and replica',
        'error 111, or 429',
        'gateway_rate_limited_total{scope="session"}',
        'LM1',
      ),
    ),
  MAX_CONNECTIONS_PER_IP: field
    .count(5_000, { min: 0 })
    .describe('sockets per IPv4 address or IPv6 /64 and replica; further upgrades are answered 429; 0 for no limit')
    .meta(
      ceiling(
        'sockets per address and replica',
        '429 with `Retry-After`',
        'gateway_rate_limited_total{scope="ip"}',
        'LM2',
      ),
    ),
  HANDSHAKE_QUEUE: field
    .count(5_000, { min: 0 })
    .describe(
      'longest queue of credential checks; beyond it upgrades are answered 503 with Retry-After, `connect` error 100',
    )
    .meta(
      ceiling(
        'queued credential checks',
        '503 with `Retry-After`, or error 100',
        'gateway_rate_limited_total{scope="admission"}',
        'AD2',
      ),
    ),
  MAX_SUBSCRIPTIONS: field
    .count(128, { min: 1, max: 10_000 })
    .describe('groups per connection (error 106)')
    .meta(
      ceiling('groups per connection', 'error 106, or close 3505', 'gateway_command_errors_total{code="106"}', 'NS7'),
    ),
  MAX_SUBSCRIPTIONS_PER_SESSION: field
    .count(5_000, { min: 0 })
    .describe('groups per session and replica, over all its connections (error 106, in `connect` 111); 0 for no limit')
    .meta(
      ceiling(
        'groups per session and replica',
        'error 106, or 111',
        'gateway_rate_limited_total{scope="session_groups"}',
        'LM3',
      ),
    ),
  MAX_NEW_GROUPS_PER_MINUTE: field
    .count(1_000, { min: 0 })
    .describe(
      'groups without a member on this replica that a session opens per minute, and in a burst (error 111); 0 for no limit',
    )
    .meta(
      ceiling(
        'new groups per session and minute',
        'error 111, or 429',
        'gateway_rate_limited_total{scope="new_groups"}',
        'LM4',
      ),
    ),
  MAX_PUBLISHED_BYTES_PER_S: field
    .bytes(1_048_576, { min: 0 })
    .describe('bytes published per session and second (error 111), sixty times as many in a burst; 0 for no limit')
    .meta(
      ceiling(
        'bytes published per session and second',
        'error 111',
        'gateway_rate_limited_total{scope="published_bytes"}',
        'LM5',
      ),
    ),
  MAX_READ_BYTES_PER_S: field
    .bytes(4_194_304, { min: 0 })
    .describe(
      'bytes of `history` and of missed publications read from Redis per session and second, four times as many in a burst; further reads are delayed; 0 for no limit',
    )
    .meta(
      ceiling(
        'bytes of history read per session and second',
        'the answer is delayed',
        'gateway_rate_limited_total{scope="read_bytes"}',
        'SW11',
      ),
    ),
  MAX_PRESENCE_CLIENTS: field
    .count(10_000, { min: 0 })
    .describe('clients in a `presence` result; error 106 for a larger group; 0 for no limit')
    .meta(
      ceiling('clients in a `presence` result', 'error 106', 'gateway_rate_limited_total{scope="presence"}', 'LM6'),
    ),
  MAX_BATCH_ANSWER_BYTES: field
    .bytes(16_777_216, { min: 65_536 })
    .describe('bytes of the results of a `batch` of the server API; error 106 for further calls that read')
    .meta(
      ceiling(
        'bytes of the results of a batch',
        'error 106 for the call',
        'gateway_rate_limited_total{scope="batch_answer"}',
        'AP23',
      ),
    ),
};
