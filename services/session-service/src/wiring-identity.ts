import { fetchJson } from '@muster/kit/fetch-json';
import { createJwks } from '@muster/kit/jwks';
import type { Dependencies } from './base.ts';
import { createBackchannelLogout } from './core/backchannel-logout.ts';
import type { SessionAdmin } from './core/session-admin.ts';
import type { SessionService } from './core/sessions.ts';
import { createTokenExchange } from './core/token-exchange.ts';
import type { IdentityContext } from './http/context.ts';
import { createIdTokenVerifier } from './oidc/id-token-verifier.ts';
import { createOverLogins, createUsedTokens } from './oidc/login-store.ts';
import { createIdentityMetrics } from './oidc/metrics.ts';

/** Wires them; undefined where no issuer is configured. */
export const identityOf = (
  base: Dependencies,
  { sessions, admin }: { readonly sessions: SessionService; readonly admin: SessionAdmin },
): IdentityContext | undefined => {
  const { config, clock, log, metrics } = base;
  if (config.oidcIssuers.length === 0) return undefined;
  const instruments = createIdentityMetrics(metrics);
  const verifier = createIdTokenVerifier({
    clock,
    issuers: config.oidcIssuers,
    keysOf: (issuer) =>
      createJwks({
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
