import { hashSecret, type SessionId, type TokenSigner } from '@muster/session/token';
import type { Idempotency } from './ports.ts';
import type { SessionRecord } from './session.ts';
import type { DerivedKeys } from './signing-keys.ts';

const SECRET_BYTES = 16;

/** Secrets that follow from an idempotency key, so that nothing secret is stored for a replay. */
export interface IdempotentSecretDeps {
  readonly keys: DerivedKeys;
  readonly signer: TokenSigner;
}

/** The secret of a session that is made under this key. */
export const secretUnder = (deps: IdempotentSecretDeps, id: SessionId, idempotency: Idempotency): string =>
  secretsFor(deps, id, idempotency)[0] ?? '';

/** The first request had an answer; this is the same again, as long as the session still has that token. */
export const replayed = (
  deps: IdempotentSecretDeps,
  session: SessionRecord | undefined,
  idempotency: Idempotency,
):
  | { readonly ok: true; readonly session: SessionRecord; readonly token: string; readonly isReplay: true }
  | { readonly ok: false; readonly why: 'rotated' } => {
  const secret =
    session &&
    secretsFor(deps, session.id, idempotency).find(
      (one) => hashSecret(one).toString('base64url') === session.secretHash,
    );
  if (session === undefined || secret === undefined || session.endedAt !== null) {
    return { ok: false, why: 'rotated' };
  }
  return { ok: true, session, token: deps.signer.issue(session.id, secret), isReplay: true };
};

/** One per signing key: the key of then may be the second one by now. */
const secretsFor = ({ keys }: IdempotentSecretDeps, id: SessionId, { key }: Idempotency): string[] =>
  keys.macs('idempotency', `${id}\n${key}`).map((mac) => mac.subarray(0, SECRET_BYTES).toString('base64url'));
