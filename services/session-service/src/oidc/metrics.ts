import type { Metrics } from '@muster/kit/metrics';

/** The instruments of logins by other parties. */
export type IdentityMetrics = ReturnType<typeof createIdentityMetrics>;

/** Registers them. */
export const createIdentityMetrics = (metrics: Metrics) => ({
  exchanged: metrics.counter<'result'>({
    name: 'session_token_exchanges_total',
    help: 'Tokens of issuers brought for a session: opened, or why not.',
    labels: ['result'],
  }),
  loggedOut: metrics.counter<'result'>({
    name: 'session_backchannel_logouts_total',
    help: 'Logout tokens of issuers: done, or why not.',
    labels: ['result'],
  }),
  fetched: metrics.counter<'issuer' | 'result'>({
    name: 'session_issuer_key_fetches_total',
    help: 'Fetches of the public keys of issuers.',
    labels: ['issuer', 'result'],
  }),
});
