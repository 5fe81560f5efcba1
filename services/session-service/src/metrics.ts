import type { Metrics } from '@muster/kit/metrics';

/** Registers the `session_*` metrics. */
export const createSessionMetrics = (metrics: Metrics) => ({
  verified: metrics.counter('session_token_verified_total'),
  validations: metrics.counter('session_validations_total'),
  validationSeconds: metrics.histogram('session_validation_duration_seconds'),
  staleAccepted: metrics.counter('session_stale_snapshots_accepted_total').with({}),
  cacheRequests: metrics.counter('session_cache_requests_total'),
  active: metrics.gauge('session_active').with({}),
  created: metrics.counter('session_created_total'),
  devicesPerUser: metrics.histogram('session_devices_per_user').with({}),
  imported: metrics.counter('session_imports_total'),
  revoked: metrics.counter('session_revoked_total'),
  rotated: metrics.counter('session_rotated_total'),
  reused: metrics.counter('session_reuse_detected_total'),
  propagationSeconds: metrics.histogram('session_revocation_propagation_seconds').with({}),
  outboxWaiting: metrics.gauge('session_outbox_waiting').with({}),
  sweptDeleted: metrics.counter('session_sweeper_deleted_total').with({}),
  sweptAt: metrics.gauge('session_sweeper_last_success_timestamp_seconds').with({}),
  buffered: metrics.gauge('session_writes_buffered').with({}),
  rateLimited: metrics.counter('session_rate_limited_total'),
});

/** Registers the metrics of token exchange and back-channel logout. */
export const createOidcMetrics = (metrics: Metrics) => ({
  exchanged: metrics.counter('session_token_exchanges_total'),
  loggedOut: metrics.counter('session_backchannel_logouts_total'),
  fetched: metrics.counter('session_issuer_key_fetches_total'),
});
