import { AppError } from '@muster/protocol/errors';
import { createLocalJWKSet, errors, type JSONWebKeySet, type JWTHeaderParameters } from 'jose';
import type { Clock } from './clock.ts';
import type { Logger } from './logger.ts';

type KeySet = ReturnType<typeof createLocalJWKSet>;
type Key = Awaited<ReturnType<KeySet>>;

/** Public keys (JWKS) of an issuer. */
export interface Jwks {
  /** Rejects with JWKSNoMatchingKey when there is no such key, with `ISSUER_UNAVAILABLE` while the JWKS cannot be fetched. */
  find(header: JWTHeaderParameters): Promise<Key>;
}

export interface JwksDeps {
  readonly clock: Clock;
  readonly log: Logger;
  readonly issuer: { readonly name: string; readonly issuer: string; readonly jwksUri: string | undefined };
  readonly requireHttps: boolean;
  readonly fetchJson: (url: string) => Promise<unknown>;
  readonly onFetched: (result: 'ok' | 'error') => void;
}

/** Time for which keys are used without another fetch. */
const FRESH_MS = 10 * 60_000;
/** Time for which keys stay valid while the issuer is unavailable. */
const MAX_STALE_MS = 3_600_000;
/** Least time between two fetches: invented key ids must not flood the issuer. */
const COOL_DOWN_MS = 30_000;
const COOL_DOWN_AFTER_FAULT_MS = 5_000;

/** Keys by JWKS: fetched when first needed, again when old or when an unknown key is named, never more than one fetch at a time. */
export const createJwks = (deps: JwksDeps): Jwks => {
  const { clock, log, issuer } = deps;
  let held: { readonly keys: KeySet; readonly at: number } | undefined;
  let last: { readonly ok: boolean; readonly at: number } | undefined;
  let pending: Promise<void> | undefined;

  const age = (): number => (held === undefined ? Number.POSITIVE_INFINITY : clock.monotonic() - held.at);
  const isCoolingDown = (): boolean =>
    last !== undefined && clock.monotonic() - last.at < (last.ok ? COOL_DOWN_MS : COOL_DOWN_AFTER_FAULT_MS);
  const load = async (): Promise<void> => {
    let ok = false;
    try {
      held = { keys: createLocalJWKSet((await readKeys(deps)) as JSONWebKeySet), at: clock.monotonic() };
      ok = true;
    } catch (error) {
      log.warn({ issuer: issuer.name, error }, 'oidc.jwks_fetch_failed');
    }
    last = { ok, at: clock.monotonic() };
    deps.onFetched(ok ? 'ok' : 'error');
  };
  const refresh = async (): Promise<void> => {
    if (pending === undefined && isCoolingDown()) return;
    pending ??= load().finally(() => {
      pending = undefined;
    });
    await pending;
  };
  const unavailable = (): AppError =>
    new AppError('ISSUER_UNAVAILABLE', {
      detail: `Could not fetch the JWKS of ${issuer.name}.`,
      retryAfterS: COOL_DOWN_AFTER_FAULT_MS / 1000,
    });

  return {
    find: async (header) => {
      if (header.kid === undefined) throw new errors.JWKSNoMatchingKey();
      if (age() > FRESH_MS) await refresh();
      if (held === undefined || age() > MAX_STALE_MS) throw unavailable();
      try {
        return await held.keys(header);
      } catch (error) {
        if (!(error instanceof errors.JWKSNoMatchingKey)) throw error;
      }
      await refresh();
      // Without a recent answer of the issuer the key may be a new key.
      if (last?.ok !== true) throw unavailable();
      return held.keys(header);
    },
  };
};

const readKeys = async (deps: JwksDeps): Promise<unknown> => {
  const { issuer, fetchJson } = deps;
  const url = issuer.jwksUri ?? (await discover(deps));
  if (deps.requireHttps && !url.startsWith('https://')) throw new Error('expected an https URL of the JWKS');
  const found = await fetchJson(url);
  if (!Array.isArray((found as { keys?: unknown } | null)?.keys)) {
    throw new Error(`expected a JWKS from ${issuer.name}, got another document`);
  }
  return found;
};

/** OpenID Connect Discovery 1.0, section 4: the document must be about the very issuer. */
const discover = async ({ issuer, fetchJson }: JwksDeps): Promise<string> => {
  const base = issuer.issuer.replace(/\/$/, '');
  const found = (await fetchJson(`${base}/.well-known/openid-configuration`)) as {
    readonly issuer?: unknown;
    readonly jwks_uri?: unknown;
  } | null;
  if (found?.issuer !== issuer.issuer)
    throw new Error('expected the discovery document of this issuer, got that of another issuer');
  if (typeof found.jwks_uri !== 'string') throw new Error('expected jwks_uri in the discovery document');
  return found.jwks_uri;
};
