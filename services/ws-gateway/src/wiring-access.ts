import { randomUUID } from 'node:crypto';
import { fetchJson } from '@muster/kit/fetch-json';
import { createJwks } from '@muster/kit/jwks';
import type { Metrics } from '@muster/kit/metrics';
import type { Runtime } from '@muster/kit/runtime';
import { createJwtAuthenticator, type JwtAuthenticator } from './auth/jwt-authenticator.ts';
import { createJwtVerifier } from './auth/jwt-verifier.ts';
import { createHttpCallbacks } from './callbacks/http-callbacks.ts';
import type { GatewayConfig } from './config/index.ts';
import type { AppCallbacks } from './core/callbacks.ts';

/** How clients without a session come in, and whom the gateway asks about what clients do. */
export interface Access {
  readonly strangers: JwtAuthenticator;
  readonly callbacks: AppCallbacks;
  /** Takes over the keys and the hosts of tenants of a configuration that was read again. */
  reload(config: Pick<GatewayConfig, 'access' | 'tenantHosts'>): void;
}

export const wireAccess = (
  {
    access,
    tenantHosts,
    maxPublicationBytes,
  }: Pick<GatewayConfig, 'access' | 'tenantHosts' | 'maxPublicationBytes'>,
  { clock, log }: Runtime,
  metrics: Metrics,
): Access => {
  const checks = metrics.counter('gateway_token_checks_total');
  const fetches = metrics.counter('gateway_token_key_fetches_total');
  const asked = metrics.counter('gateway_callbacks_total');
  const seconds = metrics.histogram('gateway_callback_duration_seconds');
  const inFlight = metrics.gauge('gateway_callbacks_in_flight').with({});
  let rules = access.tokens;
  let hosts = tenantHosts;
  const verifier = createJwtVerifier({
    clock,
    log,
    rules: () => rules,
    published:
      access.jwksUrl === undefined
        ? undefined
        : createJwks({
            clock,
            log,
            issuer: { name: 'tokens', issuer: '', jwksUri: access.jwksUrl },
            // In production the configuration has been refused already.
            requireHttps: false,
            fetchJson,
            onFetched: (result) => fetches.inc({ result }),
          }),
  });
  return {
    strangers: createJwtAuthenticator({
      ...{ clock, verifier },
      tenantHosts: {
        tenantOf: (host) => hosts.tenantOf(host),
        admits: (host, tenant) => hosts.admits(host, tenant),
      },
      allowsAnonymous: access.allowsAnonymous,
      isInsecure: access.isInsecure,
      onToken: (kind, result) => checks.inc({ kind, result }),
    }),
    callbacks: createHttpCallbacks({
      ...{ clock, log, ...access.callbacks, maxDataBytes: maxPublicationBytes },
      newId: randomUUID,
      onAnswer: (kind, outcome, took) => {
        asked.inc({ kind, outcome });
        seconds.observe({ kind }, took);
      },
      onInFlight: (count) => inFlight.set(count),
    }),
    reload: (next) => {
      rules = next.access.tokens;
      hosts = next.tenantHosts;
    },
  };
};
