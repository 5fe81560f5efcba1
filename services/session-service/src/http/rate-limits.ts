import type { ServerResponse } from 'node:http';
import type { Clock } from '@muster/kit/clock';
import type { Logger } from '@muster/kit/logger';
import type { RedisConnections } from '@muster/kit/redis/connection';
import { AppError } from '@muster/protocol/errors';
import type { Request, Response } from 'express';
import { RateLimiterMemory, RateLimiterRedis, type RateLimiterRes } from 'rate-limiter-flexible';
import type { SessionServiceConfig } from '../config.ts';
import type { GuestCeiling } from '../core/guest-ceiling.ts';
import { networkKeyOf, rateKeyOf } from '../core/ip-address.ts';
import { type Allowance, createWindowCounter } from '../core/rate-limit-window.ts';

/** The limit that was exceeded; a metric label. */
type RateLimitScope = 'guest' | 'guest_network' | 'guest_tenant' | 'guest_total' | 'session' | 'key' | 'failures';

/** Counts requests and refuses those beyond a limit. */
export type RateLimits = ReturnType<typeof createRateLimits>;

interface RateLimitOptions {
  readonly clock: Clock;
  readonly log: Logger;
  readonly guestCeiling: GuestCeiling;
  readonly redis: RedisConnections;
  readonly perMinute: SessionServiceConfig['limits'];
  readonly onLimited: (scope: RateLimitScope) => void;
}

const WINDOW_S = 60;

/** All limits are per minute; every call may throw `RATE_LIMITED`. Invalid credentials are counted without I/O. */
export const createRateLimits = (options: RateLimitOptions) => {
  const { clock, perMinute, onLimited } = options;
  const failures = {
    token: createWindowCounter({ clock, perWindow: perMinute.failures }),
    key: createWindowCounter({ clock, perWindow: perMinute.failures }),
    stale: createWindowCounter({ clock, perWindow: perMinute.failures }),
  };
  const callers = {
    session: createWindowCounter({ clock, perWindow: perMinute.session }),
    key: createWindowCounter({ clock, perWindow: perMinute.key }),
  };
  const refuse = (scope: RateLimitScope, retryAfterS: number): never => {
    onLimited(scope);
    throw new AppError('RATE_LIMITED', { retryAfterS });
  };
  return {
    /**
     * Counts a guest session of an address, its network and a tenant, fleet-wide (per process while Redis is
     * unavailable), and checks the limit of live guest sessions of the tenant.
     */
    guest: guestLimits(options, refuse),
    /** Counts a request of a session or an API key at this process. */
    caller: (kind: 'session' | 'key', id: string, res: ServerResponse): void => {
      const allowance = callers[kind].consume(id);
      if (allowance.limit > 0) setRateLimitHeaders(res, kind, allowance);
      if (!allowance.ok) refuse(kind, allowance.resetS);
    },
    /**
     * Counts an invalid credential of an address. Called after the credential was checked: a valid one is never refused
     * for the failures of others at the same address.
     */
    badCredential: (kind: 'token' | 'key', req: Request): void => {
      const allowance = failures[kind].consume(rateKeyOf(req.ip));
      if (!allowance.ok) refuse('failures', allowance.resetS);
    },
    /** True if the address has exceeded the limit of invalid API keys and tokens of issuers. */
    isThrottled: (req: Request): boolean => !failures.key.peek(rateKeyOf(req.ip)).ok,
    /** Counts a superseded secret of a session; the current secret has its own limit. */
    staleSecret: (id: string): void => {
      const allowance = failures.stale.consume(id);
      if (!allowance.ok) refuse('failures', allowance.resetS);
    },
  };
};

/** Applies the narrowest limit first: requests that it refuses do not count towards the wider limits. */
const guestLimits = (
  { log, clock, redis, perMinute, guestCeiling }: RateLimitOptions,
  refuse: (scope: RateLimitScope, retryAfterS: number) => never,
): ((req: Request, res: Response, tenant: string) => Promise<void>) => {
  const address = redisLimiter(redis, 'guest', perMinute.guests);
  const network = redisLimiter(redis, 'guest-net', perMinute.guestNetwork);
  const tenants = redisLimiter(redis, 'guest-tenant', perMinute.guestTenant);
  const isLoggable = oncePerSecond(clock);

  const refuseGuest = (scope: RateLimitScope, key: string, retryAfterS: number): never => {
    if (isLoggable(scope)) log.info({ scope, key }, 'session.guest_refused');
    return refuse(scope, retryAfterS);
  };
  const consume = async (
    res: Response,
    [scope, policy]: readonly [RateLimitScope, string],
    limiter: RateLimiterRedis,
    key: string,
  ): Promise<Allowance> => {
    try {
      return fromLimiter(limiter.points, await limiter.consume(key));
    } catch (error) {
      if (error instanceof Error) throw error;
      const allowance = fromLimiter(limiter.points, error as RateLimiterRes);
      setRateLimitHeaders(res, policy, allowance);
      return refuseGuest(scope, key, allowance.resetS);
    }
  };
  return async (req, res, tenant) => {
    const left = await consume(res, ['guest', 'ip'], address, rateKeyOf(req.ip));
    await consume(res, ['guest_network', 'network'], network, networkKeyOf(req.ip));
    await consume(res, ['guest_tenant', 'tenant'], tenants, tenant);
    setRateLimitHeaders(res, 'ip', left);
    if (!(await guestCeiling.admits(tenant))) refuseGuest('guest_total', tenant, WINDOW_S);
  };
};

const oncePerSecond = (clock: Clock): ((scope: RateLimitScope) => boolean) => {
  const loggedAt = new Map<RateLimitScope, number>();
  return (scope) => {
    const now = clock.monotonic();
    if (now - (loggedAt.get(scope) ?? Number.NEGATIVE_INFINITY) < 1_000) return false;
    loggedAt.set(scope, now);
    return true;
  };
};

const redisLimiter = (redis: RedisConnections, name: string, points: number): RateLimiterRedis =>
  new RateLimiterRedis({
    storeClient: redis.lane(),
    keyPrefix: `${redis.prefix}rl:${name}`,
    points,
    duration: WINDOW_S,
    rejectIfRedisNotReady: true,
    insuranceLimiter: new RateLimiterMemory({ points, duration: WINDOW_S }),
  });

const fromLimiter = (limit: number, state: RateLimiterRes): Allowance => ({
  ok: state.remainingPoints > 0,
  limit,
  remaining: Math.max(0, state.remainingPoints),
  resetS: Math.max(1, Math.ceil(state.msBeforeNext / 1000)),
});

/** The `RateLimit` headers of draft-ietf-httpapi-ratelimit-headers. */
const setRateLimitHeaders = (res: ServerResponse, policy: string, { limit, remaining, resetS }: Allowance): void => {
  res.setHeader('RateLimit-Policy', `"${policy}";q=${limit};w=${WINDOW_S}`);
  res.setHeader('RateLimit', `"${policy}";r=${remaining};t=${resetS}`);
};
