import { AppError } from '@muster/protocol/errors';
import { type GroupName, parseGroupName } from '@muster/protocol/ids';
import type { Authenticator } from '../auth/authenticator.ts';
import type { HandshakeQueue } from '../auth/handshake-queue.ts';
import { newerRevision } from '../core/connection/any-connection.ts';
import type { PlainConnectionTarget } from '../core/connection/plain-connection.ts';
import type { GatewayEngine } from '../core/engine.ts';
import { andThen, type MaybePromise } from '../core/maybe-promise.ts';
import type { AuthenticationResult, ClientIdentity, PresentedCredential, SessionHolder } from '../core/ports.ts';
import { limitReached, RETRY_AFTER_S } from './address-limit.ts';
import type { Handshake } from './handshake.ts';

export interface UpgradeAuthenticationDeps {
  readonly engine: Pick<GatewayEngine, 'mayUse' | 'hasQuota'>;
  readonly authenticator: Authenticator;
  readonly handshakeQueue: Pick<HandshakeQueue, 'retryAfterS'>;
  isBusUp(): boolean;
}

/**
 * Authenticates an upgrade to the protocol endpoint: a bearer token in full, a cookie only by its signature, because `connect` may
 * bring a better credential. Throws {@link AppError}.
 */
export const authenticateUpgrade = (deps: UpgradeAuthenticationDeps, handshake: Handshake): MaybePromise<void> => {
  const { via, tokens } = handshake;
  if (via === 'cookie' && !deps.authenticator.hasValidSignature(tokens))
    throw new AppError('INVALID_TOKEN', { cause: new CredentialFault('signature') });
  if (via !== 'bearer') return;
  const holder = new PendingUpgrade();
  return andThen(requireIdentity(deps, handshake, holder), (identity) =>
    deps.authenticator.release(identity.sessionId, holder),
  );
};

/** Authenticates an upgrade to the plain endpoint and checks its permission for the group. Throws {@link AppError}. */
export const authenticatePlainUpgrade = (
  deps: UpgradeAuthenticationDeps,
  handshake: Handshake & { readonly address: string },
  group: GroupName,
): MaybePromise<{ identity: ClientIdentity; holder: PendingUpgrade }> => {
  const holder = new PendingUpgrade();
  return andThen(requireIdentity(deps, handshake, holder), (identity) => {
    const { host, address } = handshake;
    const problem = groupProblem(deps, { identity, group, host, address });
    if (problem === undefined) return { identity, holder };
    deps.authenticator.release(identity.sessionId, holder);
    throw problem;
  });
};

const groupProblem = (
  { engine, isBusUp }: UpgradeAuthenticationDeps,
  target: PlainConnectionTarget,
): AppError | undefined => {
  if (!engine.mayUse(target.identity, target.group)) {
    return new AppError('FORBIDDEN', { detail: 'This session is not allowed to join this group.' });
  }
  if (!isBusUp()) return new AppError('REDIS_UNAVAILABLE', { retryAfterS: RETRY_AFTER_S });
  if (engine.hasQuota(target)) return undefined;
  return limitReached('This session has reached its limit of groups.');
};

const requireIdentity = (
  deps: UpgradeAuthenticationDeps,
  credential: PresentedCredential,
  holder: PendingUpgrade,
): MaybePromise<ClientIdentity> =>
  andThen(deps.authenticator.authenticate(credential, holder), (result) => identityIn(deps, result, holder));

/** The identity of an accepted client. Throws {@link AppError}. */
const identityIn = (
  { handshakeQueue }: UpgradeAuthenticationDeps,
  result: AuthenticationResult,
  holder: PendingUpgrade,
): ClientIdentity => {
  if (result.ok && holder.endReason === undefined) return result.identity;
  if (result.ok) throw new AppError('SESSION_ENDED', { extra: { reason: holder.endReason } });
  switch (result.why) {
    case 'invalid':
      throw new AppError('INVALID_TOKEN', { cause: new CredentialFault(result.fault ?? 'signature') });
    case 'ended':
      throw new AppError('SESSION_ENDED', { extra: { reason: result.reason } });
    case 'expired':
      throw new AppError('INVALID_TOKEN', { detail: 'The token has expired, or is not valid yet.' });
    case 'no_user':
      throw new AppError('FORBIDDEN', { detail: 'The token has no `sub` claim.' });
    case 'none':
      throw new AppError('NO_SESSION', { detail: 'Send a session cookie, a bearer token or a ticket.' });
    case 'unavailable':
      throw new AppError('OVERLOADED', {
        detail: 'The credential cannot be checked at present. Retry later.',
        retryAfterS: Math.max(RETRY_AFTER_S, handshakeQueue.retryAfterS()),
      });
    case 'limit_reached':
      throw limitReached('This user or session has reached its limit of connections.');
    default:
      return result satisfies never;
  }
};

/** Cause of a rejection, for the log; the client gets less detail. */
class CredentialFault extends Error {}

/** Reason of a rejected upgrade, for counters and the log. */
export const rejectionReasonOf = ({ code, cause }: AppError): string =>
  cause instanceof CredentialFault ? cause.message : code.toLowerCase();

/** Holds a session between its check and the connection. */
class PendingUpgrade implements SessionHolder {
  endReason: string | undefined = undefined;
  isTransferred = false;
  #revised: ClientIdentity | undefined = undefined;

  /** The identity with changes of the session since the check. */
  newest(identity: ClientIdentity): ClientIdentity {
    return newerRevision(identity, this.#revised);
  }
  reviseSession(identity: ClientIdentity): void {
    this.#revised = newerRevision(identity, this.#revised);
  }
  endSession(why: string): void {
    this.endReason = why;
  }
  /** The checked privileges are outdated: the client has to retry. */
  renewSession(why: string): void {
    this.endReason = why;
  }
  /** Marks the session as held by a connection. */
  transfer(): void {
    this.isTransferred = true;
  }
}

/** The `group` parameter of an upgrade to the plain endpoint. Throws {@link AppError}. */
export const groupParameter = (parameters: URLSearchParams): GroupName => {
  const group = parseGroupName(parameters.get('group') ?? '');
  if (group === undefined) {
    throw new AppError('MALFORMED_REQUEST', {
      detail: '`group`: expected a group name of 1 to 255 printable ASCII characters.',
    });
  }
  return group;
};
