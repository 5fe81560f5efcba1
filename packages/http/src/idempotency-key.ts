import type { IncomingMessage } from 'node:http';
import { ValidationFailure } from './validation.ts';

const KEY = /^[\x21-\x7e]{1,255}$/;

/** The `Idempotency-Key` of a request; undefined without one. Throws {@link ValidationFailure}. */
export const readIdempotencyKey = ({ headers }: IncomingMessage): string | undefined => {
  // Node joins repeated headers of this name to one text.
  const key = headers['idempotency-key'] as string | undefined;
  if (key !== undefined && !KEY.test(key)) {
    throw invalidKey('String should have 1 to 255 printable characters', 'string_pattern_mismatch');
  }
  return key;
};

/** 422 for a key that was used for another request. */
export const keyReused = (): ValidationFailure =>
  invalidKey('This key was used for another request', 'idempotency_key_reused');

/** 422 for an invalid key. */
export const invalidKey = (msg: string, type: string): ValidationFailure =>
  new ValidationFailure([{ loc: ['header', 'idempotency-key'], msg, type }]);
