import { type Clock, systemClock } from '@muster/kit/clock';
import { createLogger, type Logger } from '@muster/kit/logger';
import { createMetrics, type Metrics } from '@muster/kit/metrics';
import { openRedis } from '@muster/kit/redis/connection';
import { cookieNameFor } from '@muster/session/cookie';
import { createSessionVerifier, type SessionVerifier } from '@muster/session/session-verifier';
import { createTokenSigner } from '@muster/session/token';

/** Addresses and secrets of the fleet. Names in capitals are the variables of the services. */
export interface OpenVerifierOptions {
  /** `SESSION_SECRETS` as a list: the first signs, all are accepted. */
  readonly sessionSecrets: readonly string[];
  /** `REDIS_URL`: sessions are read from here. */
  readonly redisUrl: string;
  /** Ops ports of the session services, such as `http://10.0.0.5:9100`: the fallback when Redis has no entry. */
  readonly sessionServiceUrl: string | readonly string[];
  /** `INTERNAL_API_KEY`: opens those ports. */
  readonly internalApiKey: string;
  /** `PUBLIC_URL`: its scheme decides the name of the cookie. Default: https, `__Host-session_id`. */
  readonly publicUrl?: string;
  /** `COOKIE_NAME`, where the fleet has one of its own. */
  readonly cookieName?: string;
  /** `REDIS_PREFIX`; default `muster:`. */
  readonly redisPrefix?: string;
  /** Redis connections of this process at most; default 10. */
  readonly maxConnections?: number;
  /** Sessions kept in memory; default 10,000. 0 queries Redis each time. */
  readonly cacheSize?: number;
  /** How long they are kept, in ms; default 5000. An end that is announced removes a session at once. */
  readonly cacheMs?: number;
  /** Default: warnings as JSON lines on standard output. */
  readonly log?: Logger;
  /** Default: metrics of its own, which are not exported. */
  readonly metrics?: Metrics;
  readonly clock?: Clock;
}

const DEFAULT_PREFIX = 'muster:';
const MAX_CONNECTIONS = 10;
const CONNECT_TIMEOUT_MS = 5_000;
const COMMAND_TIMEOUT_MS = 1_000;
const HTTPS = 'https://localhost';

/**
 * A session verifier with Redis connections of its own, which disposing it closes. Throws a TypeError that names the
 * option for arguments that could never work; does not throw when Redis or a session service is unavailable.
 */
export const openSessionVerifier = async (options: OpenVerifierOptions): Promise<SessionVerifier> => {
  createTokenSigner(options.sessionSecrets);
  requireText('redisUrl', options.redisUrl);
  requireText('internalApiKey', options.internalApiKey);
  const urls = [options.sessionServiceUrl].flat();
  for (const url of urls) requireUrl('sessionServiceUrl', url);
  if (urls.length === 0) throw new TypeError('sessionServiceUrl: expected at least one URL, got an empty list');
  if (options.publicUrl !== undefined) requireUrl('publicUrl', options.publicUrl);

  const log = options.log ?? createLogger({ level: 'warn', service: 'app', instance: 'session-verifier' });
  const metrics = options.metrics ?? createMetrics({ service: 'app', version: '0' });
  const redis = await openRedis(
    {
      url: options.redisUrl,
      prefix: options.redisPrefix ?? DEFAULT_PREFIX,
      name: 'session-verifier',
      maxConnections: options.maxConnections ?? MAX_CONNECTIONS,
      connectTimeoutMs: CONNECT_TIMEOUT_MS,
      commandTimeoutMs: COMMAND_TIMEOUT_MS,
    },
    { log, metrics },
  );
  try {
    const verifier = createSessionVerifier({
      ...{ log, metrics, redis, clock: options.clock ?? systemClock },
      sessionSecrets: options.sessionSecrets,
      cookieName: cookieNameFor(options.publicUrl ?? HTTPS, options.cookieName),
      service: { urls, apiKey: options.internalApiKey },
      ...(options.cacheSize === undefined ? {} : { cacheSize: options.cacheSize }),
      ...(options.cacheMs === undefined ? {} : { cacheMs: options.cacheMs }),
    });
    const dispose = async (): Promise<void> => {
      await verifier[Symbol.asyncDispose]();
      await redis[Symbol.asyncDispose]();
    };
    return { ...verifier, [Symbol.asyncDispose]: dispose };
  } catch (error) {
    await redis[Symbol.asyncDispose]();
    throw error;
  }
};

const requireText = (name: string, value: unknown): void => {
  if (typeof value === 'string' && value !== '') return;
  throw new TypeError(`${name}: expected text, got ${value === '' ? 'an empty string' : typeof value}`);
};

const requireUrl = (name: string, value: unknown): void => {
  if (typeof value === 'string' && /^https?:/.test(value) && URL.canParse(value)) return;
  throw new TypeError(`${name}: expected an http(s) URL, got ${JSON.stringify(value)}`);
};
