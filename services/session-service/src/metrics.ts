import type { Metrics } from '@muster/kit/metrics';

/** The instruments of the session service. */
export type SessionMetrics = ReturnType<typeof createSessionMetrics>;

/** Registers the `session_*` metrics. */
export const createSessionMetrics = (metrics: Metrics) => ({
  ...checkMetrics(metrics),
  ...lifeMetrics(metrics),
});

/** Who somebody is: how often it was asked, and what answered. */
const checkMetrics = (metrics: Metrics) => ({
  verified: metrics.counter('session_token_verified_total'),
  validations: metrics.counter('session_validations_total'),
  validationSeconds: metrics.histogram('session_validation_duration_seconds'),
  staleAccepted: metrics.counter('session_stale_snapshots_accepted_total').with({}),
  cacheRequests: metrics.counter('session_cache_requests_total'),
});

/** What became of sessions. */
const lifeMetrics = (metrics: Metrics) => ({
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

/** How old the signing keys are, at each scrape. */
export const reportKeyAges = (
  metrics: Metrics,
  sightings: { ages(): readonly (number | undefined)[] },
): void => {
  const age = metrics.gauge('session_signing_key_age_seconds');
  metrics.onCollect(() => {
    const [active, previous] = sightings.ages();
    age.reset();
    if (active !== undefined) age.set({ key: 'active' }, active);
    if (previous !== undefined) age.set({ key: 'previous' }, previous);
  });
};
