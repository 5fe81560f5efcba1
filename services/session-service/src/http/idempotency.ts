import { createHash } from 'node:crypto';
import { invalidKey, readIdempotencyKey } from '@muster/http/idempotency-key';
import type { Request } from 'express';
import type { Idempotency } from '../core/ports.ts';

/** 128 bits in base64url. Callers without a credential share one namespace, so a key that can be guessed would give a session away. */
const MIN_UNGUESSABLE = 22;

/** The `Idempotency-Key` of a request that asks for `asked`; undefined without one. Throws `ValidationFailure`. */
export const idempotencyOf = (
  caller: { readonly actor: { readonly name: string } },
  req: Request,
  asked: object,
): Idempotency | undefined => {
  const key = readIdempotencyKey(req);
  if (key === undefined) return undefined;
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
