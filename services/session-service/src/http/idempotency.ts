import { createHash } from 'node:crypto';
import { ValidationFailure } from '@muster/http/validation';
import type { Request } from 'express';
import type { Idempotency } from '../core/ports.ts';

const IDEMPOTENCY_KEY = /^[\x21-\x7e]{1,255}$/;
/** 128 bits in base64url. Callers without a credential share one namespace, so a key that can be guessed would give a session away. */
const MIN_UNGUESSABLE = 22;

/** The `Idempotency-Key` of a request that asks for `asked`; undefined without one. Throws {@link ValidationFailure}. */
export const idempotencyOf = (
  caller: { readonly actor: { readonly name: string } },
  req: Request,
  asked: object,
): Idempotency | undefined => {
  const key = req.get('idempotency-key');
  if (key === undefined) return undefined;
  if (!IDEMPOTENCY_KEY.test(key)) {
    throw invalidKey('String should have 1 to 255 printable characters', 'string_pattern_mismatch');
  }
  const requestHash = createHash('sha256').update(JSON.stringify(asked)).digest();
  return { caller: caller.actor.name, key, requestHash };
};

/** The same for a caller without an API key: the key must be too long to guess. */
export const anonymousIdempotencyOf = (
  name: string,
  req: Request,
  asked: object,
): Idempotency | undefined => {
  const idempotency = idempotencyOf({ actor: { name } }, req, asked);
  if (idempotency !== undefined && idempotency.key.length < MIN_UNGUESSABLE) {
    throw invalidKey(
      `String should have at least ${MIN_UNGUESSABLE} characters where no API key is sent`,
      'string_too_short',
    );
  }
  return idempotency;
};

/** 422 for a key that stands for another request. */
export const keyReused = (): ValidationFailure =>
  invalidKey('This key stands for another request', 'idempotency_key_reused');

const invalidKey = (msg: string, type: string): ValidationFailure =>
  new ValidationFailure([{ loc: ['header', 'idempotency-key'], msg, type }]);
