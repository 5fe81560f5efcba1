import { createHash, timingSafeEqual } from 'node:crypto';
import { AppError } from '@muster/protocol/errors';
import { readBearer } from '@muster/session/credential';
import type { Request } from 'express';

const digest = (text: string): Buffer => createHash('sha256').update(text).digest();

/** Lets operators in: a request that carries `OPS_TOKEN` as bearer. Without a configured token nobody is one. */
export const createOperatorGuard = (token: string | undefined): ((req: Request) => void) => {
  const expected = token === undefined ? undefined : digest(token);
  return (req) => {
    if (expected === undefined) {
      throw new AppError('FORBIDDEN', { detail: 'This aggregator has no OPS_TOKEN, so it takes no orders.' });
    }
    const given = readBearer(req.headers.authorization);
    if (given === undefined || !timingSafeEqual(digest(given), expected)) {
      throw new AppError('INVALID_KEY', { detail: 'Send the operator token as Authorization: Bearer.' });
    }
  };
};
