import { createHash } from 'node:crypto';
import { ValidationFailure } from '@muster/http/validation';
import type { Request } from 'express';
import type { Idempotency } from '../core/ports.ts';
import type { ServiceCaller } from './service-guard.ts';

const IDEMPOTENCY_KEY = /^[\x21-\x7e]{1,255}$/;

/** The `Idempotency-Key` of a request that asks for `asked`; undefined without one. Throws {@link ValidationFailure}. */
export const idempotencyOf = (
  caller: ServiceCaller,
  req: Request,
  asked: object,
): Idempotency | undefined => {
  const key = req.get('idempotency-key');
  if (key === undefined) return undefined;
  if (!IDEMPOTENCY_KEY.test(key)) {
    throw new ValidationFailure([
      {
        loc: ['header', 'idempotency-key'],
        msg: 'String should have 1 to 255 printable characters',
        type: 'string_pattern_mismatch',
      },
    ]);
  }
  const requestHash = createHash('sha256').update(JSON.stringify(asked)).digest();
  return { caller: caller.actor.name, key, requestHash };
};
