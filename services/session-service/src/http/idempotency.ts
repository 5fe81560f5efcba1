import { createHash } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import { invalidKey, readIdempotencyKey } from '@muster/http/idempotency-key';
import type { Idempotency } from '../core/ports.ts';

/** 128 bits in base64url: callers without a credential share one namespace, so a guessed key would reveal a session. */
const MIN_ANONYMOUS_LENGTH = 22;

/** The `Idempotency-Key` of a request with this content; undefined without one. Throws `ValidationFailure`. */
export const idempotencyOf = (
  caller: { readonly actor: { readonly name: string } },
  req: IncomingMessage,
  content: object,
): Idempotency | undefined => {
  const key = readIdempotencyKey(req);
  if (key === undefined) return undefined;
  const requestHash = createHash('sha256').update(JSON.stringify(content)).digest();
  return { caller: caller.actor.name, key, requestHash };
};

/** The `Idempotency-Key` of a caller without an API key: it must be long enough to be unguessable. */
export const anonymousIdempotencyOf = (
  name: string,
  req: IncomingMessage,
  content: object,
): Idempotency | undefined => {
  const idempotency = idempotencyOf({ actor: { name } }, req, content);
  if (idempotency !== undefined && idempotency.key.length < MIN_ANONYMOUS_LENGTH) {
    throw invalidKey(
      `String should have at least ${MIN_ANONYMOUS_LENGTH} characters without an API key`,
      'string_too_short',
    );
  }
  return idempotency;
};
