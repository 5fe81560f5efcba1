import { COUNT, type Metrics, MICRO, STD } from '@muster/kit/metrics';

/** The instruments of the session service. */
export type SessionMetrics = ReturnType<typeof createSessionMetrics>;

/** Registers the `session_*` metrics. */
export const createSessionMetrics = (metrics: Metrics) => ({
  ...checkMetrics(metrics),
  ...lifeMetrics(metrics),
});

/** Who somebody is: how often it was asked, and what answered. */
const checkMetrics = (metrics: Metrics) => ({
  verified: metrics.counter<'key'>({
    name: 'session_token_verified_total',
    help: 'Session tokens by the index of the key that signed them; `none` for forged ones.',
    labels: ['key'],
  }),
  validations: metrics.counter<'result' | 'source'>({
    name: 'session_validations_total',
    help: 'Checks of session credentials, by verdict and by who gave it.',
    labels: ['result', 'source'],
  }),
  validationSeconds: metrics.histogram<'source'>({
    name: 'session_validation_duration_seconds',
    help: 'Duration of checks.',
    labels: ['source'],
    buckets: MICRO,
  }),
  staleAccepted: metrics
    .counter({
      name: 'session_stale_snapshots_accepted_total',
      help: 'Checks answered from an old snapshot because Postgres was away.',
    })
    .with({}),
  cacheRequests: metrics.counter<'result'>({
    name: 'session_cache_requests_total',
    help: 'Checks by what the cache was good for: an answer, nothing, an old answer, or not even asked.',
    labels: ['result'],
  }),
});

/** What became of sessions. */
const lifeMetrics = (metrics: Metrics) => ({
  active: metrics
    .gauge({ name: 'session_active', help: 'Sessions that have not ended; counted once a minute.' })
    .with({}),
  created: metrics.counter<'method'>({
    name: 'session_created_total',
    help: 'Sessions opened, for a user, a guest or a service.',
    labels: ['method'],
  }),
  devicesPerUser: metrics
    .histogram({
      name: 'session_devices_per_user',
      help: 'Live sessions of a user, seen at each login.',
      buckets: COUNT,
    })
    .with({}),
  imported: metrics.counter<'result'>({
    name: 'session_imports_total',
    help: 'Sessions of express-session that came by: imported, again within a minute, or refused.',
    labels: ['result'],
  }),
  revoked: metrics.counter<'reason'>({
    name: 'session_revoked_total',
    help: 'Sessions ended, by reason.',
    labels: ['reason'],
  }),
  rotated: metrics.counter<'result'>({
    name: 'session_rotated_total',
    help: 'New secrets, by occasion.',
    labels: ['result'],
  }),
  reused: metrics.counter<'kind' | 'action'>({
    name: 'session_reuse_detected_total',
    help: 'Old secrets presented, and what was done.',
    labels: ['kind', 'action'],
  }),
  propagationSeconds: metrics
    .histogram({
      name: 'session_revocation_propagation_seconds',
      help: 'From the commit of a change to its arrival on the bus.',
      buckets: STD,
    })
    .with({}),
  outboxWaiting: metrics
    .gauge({
      name: 'session_outbox_waiting',
      help: 'Committed changes older than a second that Redis has not taken.',
    })
    .with({}),
  sweptDeleted: metrics
    .counter({ name: 'session_sweeper_deleted_total', help: 'Ended sessions deleted after their retention.' })
    .with({}),
  sweptAt: metrics
    .gauge({
      name: 'session_sweeper_last_success_timestamp_seconds',
      help: 'When the last sweep was finished.',
    })
    .with({}),
  buffered: metrics
    .gauge({ name: 'session_writes_buffered', help: 'Activities that wait in this process.' })
    .with({}),
  rateLimited: metrics.counter<'scope'>({
    name: 'session_rate_limited_total',
    help: 'Requests refused by a rate limit.',
    labels: ['scope'],
  }),
});

/** How old the signing keys are, at each scrape. */
export const reportKeyAges = (
  metrics: Metrics,
  sightings: { ages(): readonly (number | undefined)[] },
): void => {
  const age = metrics.gauge<'key'>({
    name: 'session_signing_key_age_seconds',
    help: 'Time since the fleet first used the key that signs, and the one before it.',
    labels: ['key'],
  });
  metrics.onCollect(() => {
    const [active, previous] = sightings.ages();
    age.reset();
    if (active !== undefined) age.set({ key: 'active' }, active);
    if (previous !== undefined) age.set({ key: 'previous' }, previous);
  });
};

/** A view of a registry that puts a prefix before every name, for a second app in one process. */
export const prefixed = (metrics: Metrics, prefix: string): Metrics => ({
  ...metrics,
  counter: (described) => metrics.counter({ ...described, name: prefix + described.name }),
  gauge: (described) => metrics.gauge({ ...described, name: prefix + described.name }),
  histogram: (described) => metrics.histogram({ ...described, name: prefix + described.name }),
});
