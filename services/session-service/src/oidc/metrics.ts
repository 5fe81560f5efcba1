import type { Metrics } from '@muster/kit/metrics';

/** The instruments of logins by other parties. */
export type IdentityMetrics = ReturnType<typeof createIdentityMetrics>;

/** Registers them. */
export const createIdentityMetrics = (metrics: Metrics) => ({
  exchanged: metrics.counter('session_token_exchanges_total'),
  loggedOut: metrics.counter('session_backchannel_logouts_total'),
  fetched: metrics.counter('session_issuer_key_fetches_total'),
});
