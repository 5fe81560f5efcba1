import type { Clock } from '@muster/kit/clock';
import { CloseCode, ReplyError } from '@muster/protocol/codes';
import type { ConnectCommand } from '@muster/protocol/commands';
import { AppError } from '@muster/protocol/errors';
import type { ClientInfo, SubscribeResult } from '@muster/protocol/replies';
import { infoOf } from '../connection/any-connection.ts';
import type { ClientQuotas } from '../connection/client-quotas.ts';
import type { Connection } from '../connection/connection.ts';
import { expiryOf } from '../group/subscribe-result.ts';
import { andThen, type MaybePromise } from '../maybe-promise.ts';
import type { AuthenticationResult, ClientIdentity, SessionAuthenticator } from '../ports.ts';
import type { ServerSubscriptionPlan, ServerSubscriptions } from '../server-subscriptions.ts';

export interface ConnectDeps {
  readonly authenticator: SessionAuthenticator;
  readonly clock: Clock;
  /** Instance name, sent to clients. */
  readonly gateway: string;
  readonly version: string;
  readonly pingIntervalMs: number;
  readonly quotas: Pick<ClientQuotas, 'enter'>;
  readonly serverSubscriptions: Pick<ServerSubscriptions, 'plan' | 'joinAll'>;
}

/**
 * `connect`: authenticates the client. A token in the command takes precedence over the credential of the upgrade. A client whose
 * session was checked recently is accepted in the turn of its command.
 */
export const createConnect =
  (deps: ConnectDeps) =>
  (connection: Connection, command: ConnectCommand): MaybePromise<void> => {
    if (connection.phase.is !== 'handshake') return connection.rejectInput('second_connect');
    const tokens = command.token === '' ? connection.upgrade.tokens : [command.token];
    connection.startConnecting();
    const credential = { tokens, origin: connection.upgrade.origin, host: connection.host };
    return andThen(deps.authenticator.authenticate(credential, connection), (result) =>
      conclude(deps, connection, command, result),
    );
  };

const conclude = (
  deps: ConnectDeps,
  connection: Connection,
  command: ConnectCommand,
  result: AuthenticationResult,
): MaybePromise<void> => {
  if (connection.isClosed) {
    if (result.ok) deps.authenticator.release(result.identity.sessionId, connection);
    return;
  }
  if (!result.ok) return reject(connection, command, result);
  if (result.identity.sessionId === undefined && result.identity.expiresAt <= deps.clock.now()) {
    deps.authenticator.release(undefined, connection);
    return connection.rejectConnect(command.id, ReplyError.Expired);
  }
  return planSubscriptions(deps, connection, command, result.identity);
};

/** Plans the server-side subscriptions, whose positions are part of the reply, and replies when they are open. */
const planSubscriptions = (
  deps: ConnectDeps,
  connection: Connection,
  command: ConnectCommand,
  identity: ClientIdentity,
): MaybePromise<void> => {
  const quota = deps.quotas.enter({ ...identity, address: connection.upgrade.address ?? '' }, connection);
  connection.quota = quota;
  const planned = deps.serverSubscriptions.plan(identity, command, quota);
  if (!planned.ok) {
    deps.authenticator.release(identity.sessionId, connection);
    if ('error' in planned) connection.rejectConnect(command.id, planned.error, planned.reason);
    else if (planned.close === CloseCode.BadRequest) connection.rejectInput('unknown_group');
    else connection.close(planned.close, planned.reason);
    return;
  }
  const info = infoOf(connection.id, identity);
  if (planned.subscriptions.length === 0) return acceptClient(deps, connection, command, { identity, info });
  return openSubscriptions(deps, connection, command, { identity, info, planned: planned.subscriptions });
};

const openSubscriptions = async (
  deps: ConnectDeps,
  connection: Connection,
  command: ConnectCommand,
  { identity, info, planned }: AcceptedClient & { readonly planned: readonly ServerSubscriptionPlan[] },
): Promise<void> => {
  try {
    const subs = await deps.serverSubscriptions.joinAll(connection, info, planned);
    if (connection.isClosed) deps.authenticator.release(identity.sessionId, connection);
    else acceptClient(deps, connection, command, { identity, info, subs });
  } catch (error) {
    deps.authenticator.release(identity.sessionId, connection);
    if (!(error instanceof AppError)) throw error;
    connection.rejectConnect(command.id, ReplyError.Internal);
  }
};

const reject = (
  connection: Connection,
  command: ConnectCommand,
  result: Exclude<AuthenticationResult, { ok: true }>,
): void => {
  if (result.why === 'invalid') connection.close(CloseCode.InvalidToken);
  else if (result.why === 'ended') connection.endSession(result.reason);
  else if (result.why === 'none') connection.rejectInput('no_credential');
  else if (result.why === 'no_user') connection.close(CloseCode.PermissionDenied);
  else connection.rejectConnect(command.id, RETRYABLE[result.why]);
};

/** Errors after which the client may retry. `limit_reached`: connections that it has lost are closed soon. */
const RETRYABLE = {
  expired: ReplyError.TokenExpired,
  limit_reached: ReplyError.TooManyRequests,
  unavailable: ReplyError.Internal,
} as const;

interface AcceptedClient {
  readonly identity: ClientIdentity;
  readonly info: ClientInfo;
  readonly subs?: ReadonlyMap<string, SubscribeResult>;
}

const acceptClient = (
  { gateway, version, pingIntervalMs, clock }: ConnectDeps,
  connection: Connection,
  command: ConnectCommand,
  accepted: AcceptedClient,
): void => {
  const { identity, info, subs } = accepted;
  const { user, sessionId } = identity;
  connection.accept(identity, info);
  connection.reply({
    id: command.id,
    is: 'connect',
    result: {
      client: connection.id,
      version: `muster ${version}`,
      ...tokenExpiryOf(identity, clock),
      data: JSON.stringify({ gateway, user, session: sessionId }),
      ...(subs === undefined ? {} : { subs }),
      ...(connection.pingsByFrame ? {} : { pingS: Math.max(1, Math.round(pingIntervalMs / 1000)), pong: true }),
    },
  });
  // Without held frames the reply shares the write of this turn.
  if (connection.sendBuffer.isHolding) connection.sendBuffer.release();
  // Permissions may have changed meanwhile.
  connection.reviewPermissions();
};

/** Expiry fields of a reply. None for sessions, whose end the gateway enforces. */
export const tokenExpiryOf = ({ sessionId, expiresAt }: ClientIdentity, clock: Clock): ReturnType<typeof expiryOf> =>
  expiryOf(sessionId !== undefined || expiresAt === Number.POSITIVE_INFINITY ? undefined : expiresAt, clock);
