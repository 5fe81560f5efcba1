import type { Clock } from '@muster/kit/clock';
import type { RedisConnections } from '@muster/kit/redis';
import { AppError } from '@muster/protocol/errors';
import type { Request, Response } from 'express';
import { RateLimiterMemory, RateLimiterRedis, type RateLimiterRes } from 'rate-limiter-flexible';
import { rateKeyOf } from '../core/ip.ts';
import { type Allowance, createWindowCounter } from '../core/window-counter.ts';

/** Whose limit was exceeded. */
export type LimitScope = 'guest' | 'session' | 'key' | 'failures';

/** Counts requests and refuses those beyond a limit; every call may throw `RATE_LIMITED`. */
export interface RateLimits {
  /** Guest sessions of an address, counted by the whole fleet, by this process while Redis is away. */
  guest(req: Request, res: Response): Promise<void>;
  /** Requests of a session, or of an API key, at this process. */
  caller(kind: 'session' | 'key', id: string, res: Response): void;
  /** Remembers a token that is none. Good tokens of the same address are never touched by it. */
  badToken(req: Request): void;
  /** Refuses addresses that have shown too many wrong API keys or foreign tokens, before one is looked up. */
  requireTrust(req: Request): void;
  distrust(req: Request): void;
}

interface RateLimitOptions {
  readonly clock: Clock;
  readonly redis: RedisConnections;
  readonly perMinute: {
    readonly guests: number;
    readonly session: number;
    readonly key: number;
    readonly failures: number;
  };
  readonly onLimited: (scope: LimitScope) => void;
}

const WINDOW_S = 60;

/** All limits are per minute. Bad credentials are counted without I/O: that is what makes refusing them cheap. */
export const createRateLimits = ({ clock, redis, perMinute, onLimited }: RateLimitOptions): RateLimits => {
  const guests = guestLimiter(redis, perMinute.guests);
  const failures = {
    token: createWindowCounter({ clock, perWindow: perMinute.failures }),
    key: createWindowCounter({ clock, perWindow: perMinute.failures }),
  };
  const callers = {
    session: createWindowCounter({ clock, perWindow: perMinute.session }),
    key: createWindowCounter({ clock, perWindow: perMinute.key }),
  };
  const refuse = (scope: LimitScope, retryAfterS: number): never => {
    onLimited(scope);
    throw new AppError('RATE_LIMITED', { retryAfterS });
  };
  return {
    guest: async (req, res) => {
      try {
        tell(res, 'ip', fromLimiter(perMinute.guests, await guests.consume(rateKeyOf(req.ip))));
      } catch (error) {
        if (error instanceof Error) throw error;
        const allowance = fromLimiter(perMinute.guests, error as RateLimiterRes);
        tell(res, 'ip', allowance);
        refuse('guest', allowance.resetS);
      }
    },
    caller: (kind, id, res) => {
      const allowance = callers[kind].take(id);
      if (allowance.limit > 0) tell(res, kind, allowance);
      if (!allowance.ok) refuse(kind, allowance.resetS);
    },
    badToken: (req) => {
      const allowance = failures.token.take(rateKeyOf(req.ip));
      if (!allowance.ok) refuse('failures', allowance.resetS);
    },
    requireTrust: (req) => {
      const allowance = failures.key.peek(rateKeyOf(req.ip));
      if (!allowance.ok) refuse('failures', allowance.resetS);
    },
    distrust: (req) => void failures.key.take(rateKeyOf(req.ip)),
  };
};

const guestLimiter = (redis: RedisConnections, points: number): RateLimiterRedis =>
  new RateLimiterRedis({
    storeClient: redis.lane(),
    keyPrefix: `${redis.prefix}rl:guest`,
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
const tell = (res: Response, policy: string, { limit, remaining, resetS }: Allowance): void => {
  res.setHeader('RateLimit-Policy', `"${policy}";q=${limit};w=${WINDOW_S}`);
  res.setHeader('RateLimit', `"${policy}";r=${remaining};t=${resetS}`);
};
