import { fetchJson } from '@muster/kit/fetch-json';
import { createIssuerKeys } from '@muster/kit/jwks';
import type { Base } from './base.ts';
import type { Admin } from './core/session-admin.ts';
import { createBackchannelLogout } from './core/backchannel-logout.ts';
import type { Sessions } from './core/sessions.ts';
import { createTokenExchange } from './core/token-exchange.ts';
import type { Identity } from './http/context.ts';
import { createIdentityMetrics } from './oidc/metrics.ts';
import { createOverLogins, createUsedTokens } from './oidc/used-tokens.ts';
import { createTokenVerifier } from './oidc/id-token-verifier.ts';

/** Wires them; undefined where no issuer is configured. */
export const identityOf = (
  base: Base,
  { sessions, admin }: { readonly sessions: Sessions; readonly admin: Admin },
): Identity | undefined => {
  const { config, clock, log, metrics } = base;
  if (config.oidcIssuers.length === 0) return undefined;
  const instruments = createIdentityMetrics(metrics);
  const verifier = createTokenVerifier({
    clock,
    issuers: config.oidcIssuers,
    keysOf: (issuer) =>
      createIssuerKeys({
        clock,
        log,
        issuer,
        requireHttps: config.common.environment === 'production',
        fetchJson,
        onFetched: (result) => instruments.fetched.inc({ issuer: issuer.name, result }),
      }),
  });
  const used = createUsedTokens(base);
  const over = createOverLogins(base);
  return {
    exchange: createTokenExchange({
      clock,
      verifier,
      used,
      over,
      sessions,
      onExchanged: (result) => instruments.exchanged.inc({ result }),
    }),
    logout: createBackchannelLogout({
      verifier,
      used,
      over,
      admin,
      onLogout: (result) => instruments.loggedOut.inc({ result }),
    }),
  };
};
