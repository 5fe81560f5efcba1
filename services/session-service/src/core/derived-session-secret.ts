import { hashSecret, type SessionId, type TokenSigner } from '@muster/session/token';
import type { Idempotency } from './ports.ts';
import type { SessionRecord } from './session-record.ts';
import type { DerivedKeys } from './signing-keys.ts';

const SECRET_BYTES = 16;

/** The keys from which the secret of an idempotent request is derived; so a replay needs no stored secret. */
export interface IdempotentSecretDeps {
  readonly keys: DerivedKeys;
  readonly signer: TokenSigner;
}

/** The secret of a session that is created under this key. */
export const secretUnder = (deps: IdempotentSecretDeps, id: SessionId, idempotency: Idempotency): string =>
  secretsFor(deps, id, idempotency)[0] ?? '';

/** The result of the first request again; `rotated` if the session has ended or has another secret by now. */
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
      (candidate) => hashSecret(candidate).toString('base64url') === session.secretHash,
    );
  if (session === undefined || secret === undefined || session.endedAt !== null) {
    return { ok: false, why: 'rotated' };
  }
  return { ok: true, session, token: deps.signer.issue(session.id, secret), isReplay: true };
};

/** One secret per signing key: the first request may have used a key that is listed second now. */
const secretsFor = ({ keys }: IdempotentSecretDeps, id: SessionId, { key }: Idempotency): string[] =>
  keys.macs('idempotency', `${id}\n${key}`).map((mac) => mac.subarray(0, SECRET_BYTES).toString('base64url'));
