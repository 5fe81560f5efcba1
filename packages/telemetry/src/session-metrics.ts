import { atMost, COUNT, counter, gauge, histogram, MICRO, STD } from './metric.ts';

const checks = { row: 'Checks' };
const lifecycle = { row: 'Sessions' };
const background = { row: 'Background tasks' };
const issuers = { row: 'Issuers' };
const REASON = atMost(16, 'reasons for ends are a closed list');
const FAULT = atMost(20, 'faults of tokens are a closed list');
const ISSUER = atMost(10, 'issuers are configured');

/** Metrics of the session service. */
export const SESSION = {
  session_token_verified_total: counter(
    'Session tokens by the index of their signing key; `none` for an invalid signature.',
    { labels: { key: atMost(10, 'keys are configured') }, panel: { ...checks, by: ['key'] } },
  ),
  session_validation_duration_seconds: histogram('Duration of session checks.', {
    labels: { source: ['local', 'redis', 'postgres'] },
    buckets: MICRO,
    panel: { ...checks, by: ['source'] },
  }),
  session_stale_snapshots_accepted_total: counter(
    'Checks answered from a stale snapshot while Postgres was unavailable.',
    { zero: true, panel: checks },
  ),
  session_cache_requests_total: counter('Session checks by cache result.', {
    labels: { result: ['hit', 'miss', 'stale', 'bypass'] },
    zero: true,
    panel: { ...checks, by: ['result'] },
  }),
  session_active: gauge('Active sessions; counted once a minute.', {
    panel: { ...lifecycle, as: 'max' },
  }),
  session_created_total: counter('Created sessions by kind.', {
    labels: { method: atMost(4, 'kinds of sessions are a closed list') },
    panel: { ...lifecycle, by: ['method'] },
  }),
  session_devices_per_user: histogram('Active sessions of a user, observed at each login.', {
    buckets: COUNT,
    panel: lifecycle,
  }),
  session_imports_total: counter(
    'Sessions of express-session by result: imported, again within a minute, or refused.',
    {
      labels: { result: ['imported', 'again', 'refused'] },
      zero: true,
      panel: { ...lifecycle, by: ['result'] },
    },
  ),
  session_revoked_total: counter('Ended sessions by reason.', {
    labels: { reason: REASON },
    panel: { ...lifecycle, by: ['reason'] },
  }),
  session_rotated_total: counter('Rotated secrets by cause.', {
    labels: { result: atMost(6, 'causes of a rotation are a closed list') },
    panel: { ...lifecycle, by: ['result'] },
  }),
  session_reuse_detected_total: counter('Presented superseded secrets by kind and action.', {
    labels: { kind: ['late', 'stale'], action: ['alert', 'revoke'] },
    zero: true,
    panel: { ...lifecycle, by: ['kind', 'action'] },
  }),
  session_revocation_propagation_seconds: histogram('Time from the commit of a change to its publication on the bus.', {
    buckets: STD,
    panel: background,
  }),
  session_outbox_waiting: gauge('Committed changes older than a second that are not yet published.', {
    panel: { ...background, as: 'max' },
  }),
  session_sweeper_deleted_total: counter('Ended sessions deleted after their retention.', {
    zero: true,
    panel: background,
  }),
  session_sweeper_last_success_timestamp_seconds: gauge('Time of the last completed sweep.', {
    panel: { ...background, as: 'age' },
  }),
  session_writes_buffered: gauge('Session activity buffered in this process.', {
    panel: { ...background, by: ['instance'], as: 'max' },
  }),
  session_rate_limited_total: counter('Requests refused by a rate limit.', {
    labels: {
      scope: ['guest', 'guest_network', 'guest_tenant', 'guest_total', 'session', 'key', 'failures'],
    },
    zero: true,
    panel: { ...checks, by: ['scope'] },
  }),
  session_signing_key_age_seconds: gauge(
    'Age of the active and the previous signing key, since their first use in the fleet.',
    { labels: { key: ['active', 'previous'] }, panel: { ...background, by: ['key'], as: 'max' } },
  ),
  session_token_exchanges_total: counter('Token exchanges by result: created, or the fault.', {
    labels: { result: FAULT },
    panel: { ...issuers, by: ['result'] },
  }),
  session_backchannel_logouts_total: counter('Back-channel logouts by result: done, or the fault.', {
    labels: { result: FAULT },
    panel: { ...issuers, by: ['result'] },
  }),
  session_issuer_key_fetches_total: counter('JWKS fetches by issuer and result.', {
    labels: { issuer: ISSUER, result: ['ok', 'error'] },
    panel: { ...issuers, by: ['issuer', 'result'] },
  }),
} as const;

const sessionBus = { row: 'Session bus' };

/** Metrics of processes that check sessions or follow the session bus. */
export const SESSION_CLIENT = {
  session_validations_total: counter('Checks of session credentials by result and source.', {
    labels: {
      result: atMost(10, 'results are a closed list'),
      source: ['local', 'redis', 'postgres', 'service'],
    },
    combinations: 24,
    panel: { ...checks, by: ['result', 'source'] },
  }),
  session_bus_messages_total: counter('Messages received on the session bus by kind.', {
    labels: { kind: atMost(8, 'kinds of messages are a closed list') },
    panel: { ...sessionBus, by: ['kind'] },
  }),
  session_bus_gaps_total: counter('Reads of the change stream after a gap or a reconnect, by outcome.', {
    labels: { outcome: ['repaired', 'lost', 'failed'] },
    zero: true,
    panel: { ...sessionBus, by: ['outcome'] },
  }),
  session_verifier_checks_total: counter('Requests checked by the session verifier, by result and source.', {
    labels: {
      result: atMost(10, 'results of the verifier are a closed list'),
      source: ['local', 'redis', 'service'],
    },
    combinations: 24,
    panel: { ...sessionBus, by: ['result', 'source'] },
  }),
} as const;
