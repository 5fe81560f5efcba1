import { atMost, COUNT, counter, gauge, histogram, MICRO, STD } from './metric.ts';

const checks = { row: 'Checks' };
const lives = { row: 'Lives of sessions' };
const upkeep = { row: 'Upkeep' };
const issuers = { row: 'Issuers' };
const REASON = atMost(16, 'reasons for ends are a closed list');
const FAULT = atMost(20, 'faults of tokens are a closed list');
const ISSUER = atMost(10, 'issuers are configured');

/** What the session service tells. */
export const SESSION = {
  session_token_verified_total: counter(
    'Session tokens by the index of the key that signed them; `none` for forged ones.',
    { labels: { key: atMost(10, 'keys are configured') }, panel: { ...checks, by: ['key'] } },
  ),
  session_validation_duration_seconds: histogram('Duration of checks.', {
    labels: { source: ['local', 'redis', 'postgres'] },
    buckets: MICRO,
    panel: { ...checks, by: ['source'] },
  }),
  session_stale_snapshots_accepted_total: counter(
    'Checks answered from an old snapshot because Postgres was away.',
    { zero: true, panel: checks },
  ),
  session_cache_requests_total: counter(
    'Checks by what the cache was good for: an answer, nothing, an old answer, or not even asked.',
    {
      labels: { result: ['hit', 'miss', 'stale', 'bypass'] },
      zero: true,
      panel: { ...checks, by: ['result'] },
    },
  ),
  session_active: gauge('Sessions that have not ended; counted once a minute.', {
    panel: { ...lives, as: 'max' },
  }),
  session_created_total: counter('Sessions opened, for a user, a guest or a service.', {
    labels: { method: atMost(4, 'kinds of sessions are a closed list') },
    panel: { ...lives, by: ['method'] },
  }),
  session_devices_per_user: histogram('Live sessions of a user, seen at each login.', {
    buckets: COUNT,
    panel: lives,
  }),
  session_imports_total: counter(
    'Sessions of express-session that came by: imported, again within a minute, or refused.',
    {
      labels: { result: ['imported', 'again', 'refused'] },
      zero: true,
      panel: { ...lives, by: ['result'] },
    },
  ),
  session_revoked_total: counter('Sessions ended, by reason.', {
    labels: { reason: REASON },
    panel: { ...lives, by: ['reason'] },
  }),
  session_rotated_total: counter('New secrets, by occasion.', {
    labels: { result: atMost(6, 'occasions for a new secret are a closed list') },
    panel: { ...lives, by: ['result'] },
  }),
  session_reuse_detected_total: counter('Old secrets presented, and what was done.', {
    labels: { kind: ['late', 'stale'], action: ['alert', 'revoke'] },
    zero: true,
    panel: { ...lives, by: ['kind', 'action'] },
  }),
  session_revocation_propagation_seconds: histogram(
    'From the commit of a change to its arrival on the bus.',
    { buckets: STD, panel: upkeep },
  ),
  session_outbox_waiting: gauge('Committed changes older than a second that Redis has not taken.', {
    panel: { ...upkeep, as: 'max' },
  }),
  session_sweeper_deleted_total: counter('Ended sessions deleted after their retention.', {
    zero: true,
    panel: upkeep,
  }),
  session_sweeper_last_success_timestamp_seconds: gauge('When the last sweep was finished.', {
    panel: { ...upkeep, as: 'age' },
  }),
  session_writes_buffered: gauge('Activities that wait in this process.', {
    panel: { ...upkeep, by: ['instance'], as: 'max' },
  }),
  session_rate_limited_total: counter('Requests refused by a rate limit.', {
    labels: {
      scope: ['guest', 'guest_network', 'guest_tenant', 'guest_total', 'session', 'key', 'failures'],
    },
    zero: true,
    panel: { ...checks, by: ['scope'] },
  }),
  session_signing_key_age_seconds: gauge(
    'Time since the fleet first used the key that signs, and the one before it.',
    { labels: { key: ['active', 'previous'] }, panel: { ...upkeep, by: ['key'], as: 'max' } },
  ),
  session_token_exchanges_total: counter('Tokens of issuers brought for a session: opened, or why not.', {
    labels: { result: FAULT },
    panel: { ...issuers, by: ['result'] },
  }),
  session_backchannel_logouts_total: counter('Logout tokens of issuers: done, or why not.', {
    labels: { result: FAULT },
    panel: { ...issuers, by: ['result'] },
  }),
  session_issuer_key_fetches_total: counter('Fetches of the public keys of issuers.', {
    labels: { issuer: ISSUER, result: ['ok', 'error'] },
    panel: { ...issuers, by: ['issuer', 'result'] },
  }),
} as const;

const following = { row: 'Following sessions' };

/** What everybody tells who asks about sessions or follows their changes: session service, gateways, applications. */
export const SESSION_CLIENT = {
  session_validations_total: counter('Checks of session credentials, by verdict and by who gave it.', {
    labels: {
      result: atMost(10, 'verdicts are a closed list'),
      source: ['local', 'redis', 'postgres', 'service'],
    },
    combinations: 24,
    panel: { ...checks, by: ['result', 'source'] },
  }),
  session_bus_messages_total: counter('Messages heard on the session bus by kind.', {
    labels: { kind: atMost(8, 'kinds of messages are a closed list') },
    panel: { ...following, by: ['kind'] },
  }),
  session_bus_gaps_total: counter('Readings of the change stream after a hole or a reconnect, by outcome.', {
    labels: { outcome: ['repaired', 'lost', 'failed'] },
    zero: true,
    panel: { ...following, by: ['outcome'] },
  }),
  session_verifier_checks_total: counter('Requests checked by the verifier, by result and by who knew.', {
    labels: {
      result: atMost(10, 'answers of the verifier are a closed list'),
      source: ['local', 'redis', 'service'],
    },
    combinations: 24,
    panel: { ...following, by: ['result', 'source'] },
  }),
} as const;
