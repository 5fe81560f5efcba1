import { AppError } from '@muster/protocol/errors';
import type { Request, Response } from 'express';
import { RateLimiterMemory, type RateLimiterRes } from 'rate-limiter-flexible';
import { rateKeyOf } from '../core/ip.ts';

/** Counts requests per caller and refuses those beyond the limit. */
export interface RateLimits {
  /** Takes one point of the caller's address; throws `RATE_LIMITED`. */
  guest(req: Request, res: Response): Promise<void>;
}

interface RateLimitOptions {
  readonly guestsPerMinute: number;
  readonly onLimited: (scope: string) => void;
}

const WINDOW_S = 60;

/** Limits of this process. */
export const createRateLimits = ({ guestsPerMinute, onLimited }: RateLimitOptions): RateLimits => {
  const guests = new RateLimiterMemory({ points: guestsPerMinute, duration: WINDOW_S });
  return {
    guest: async (req, res) => {
      try {
        tell(res, guestsPerMinute, await guests.consume(rateKeyOf(req.ip)));
      } catch (error) {
        if (error instanceof Error) throw error;
        onLimited('guest');
        tell(res, guestsPerMinute, error as RateLimiterRes);
        throw new AppError('RATE_LIMITED', { retryAfterS: secondsOf(error as RateLimiterRes) });
      }
    },
  };
};

/** The `RateLimit` headers of draft-ietf-httpapi-ratelimit-headers. */
const tell = (res: Response, points: number, state: RateLimiterRes): void => {
  res.setHeader('RateLimit-Policy', `"ip";q=${points};w=${WINDOW_S}`);
  res.setHeader('RateLimit', `"ip";r=${Math.max(0, state.remainingPoints)};t=${secondsOf(state)}`);
};

const secondsOf = (state: RateLimiterRes): number => Math.max(1, Math.ceil(state.msBeforeNext / 1000));
