import { createHash, timingSafeEqual } from 'node:crypto';
import { AppError } from '@muster/protocol/errors';
import { readBearer } from '@muster/session/credential';
import type { Request } from 'express';

const digest = (text: string): Buffer => createHash('sha256').update(text).digest();

/** Throws unless the request has `OPS_TOKEN` as bearer token. Without a configured token every request is rejected. */
export const createOperatorGuard = (token: string | undefined): ((req: Request) => void) => {
  const expected = token === undefined ? undefined : digest(token);
  return (req) => {
    if (expected === undefined) {
      throw new AppError('FORBIDDEN', {
        detail: 'Operator requests are disabled. Set OPS_TOKEN on this aggregator.',
      });
    }
    const given = readBearer(req.headers.authorization);
    if (given === undefined || !timingSafeEqual(digest(given), expected)) {
      throw new AppError('INVALID_KEY', {
        detail: 'The operator token is missing or invalid. Send it as Authorization: Bearer.',
      });
    }
  };
};
