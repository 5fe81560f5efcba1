import type { Clock } from '@muster/kit/clock';
import { CloseCode, ReplyError } from '@muster/protocol/codes';
import type { ConnectCommand } from '@muster/protocol/commands';
import { AppError } from '@muster/protocol/errors';
import type { ClientInfo, SubscribeResult } from '@muster/protocol/replies';
import type { ClientQuotas } from '../connection/client-quotas.ts';
import type { Connection } from '../connection/connection.ts';
import { ttlOf } from '../group/subscribe-result.ts';
import type { AuthenticationResult, ClientIdentity, SessionAuthenticator } from '../ports.ts';
import type { ServerSubscriptions } from '../server-subscriptions.ts';

export interface ConnectDeps {
  readonly authenticator: SessionAuthenticator;
  readonly clock: Clock;
  /** Name of this instance, told to clients. */
  readonly gateway: string;
  readonly version: string;
  readonly pingIntervalMs: number;
  readonly quotas: Pick<ClientQuotas, 'enter'>;
  readonly serverSubscriptions: Pick<ServerSubscriptions, 'placementsOf' | 'enterAll'>;
}

/** `connect`: who is this, and may they come in. The token of the command goes before what came with the upgrade. */
export const createConnect =
  (deps: ConnectDeps) =>
  (connection: Connection, command: ConnectCommand): Promise<void> | undefined => {
    if (connection.phase.is !== 'handshake') return void connection.rejectInput('second_connect');
    const tokens = command.token === '' ? connection.tokens : [command.token];
    connection.startConnecting();
    return admit(deps, connection, command, tokens);
  };

const admit = async (
  deps: ConnectDeps,
  connection: Connection,
  command: ConnectCommand,
  tokens: readonly string[],
): Promise<void> => {
  const admission = await deps.authenticator.authenticate(
    { tokens, origin: connection.origin, host: connection.host },
    connection,
  );
  if (connection.isClosed) {
    if (admission.ok) deps.authenticator.release(admission.identity.sessionId, connection);
    return;
  }
  if (!admission.ok) return turnAway(connection, command, admission);
  if (admission.identity.sessionId === undefined && admission.identity.expiresAt <= deps.clock.now()) {
    deps.authenticator.release(undefined, connection);
    return connection.rejectConnect(command.id, ReplyError.Expired);
  }
  await enter(deps, connection, command, admission.identity);
};

/** First its groups, then the word that it is in: it learns where it stands in them. */
const enter = async (
  deps: ConnectDeps,
  connection: Connection,
  command: ConnectCommand,
  identity: ClientIdentity,
): Promise<void> => {
  const quota = deps.quotas.enter({ ...identity, address: connection.address }, connection);
  connection.quota = quota;
  const placed = deps.serverSubscriptions.placementsOf(identity, command, quota);
  if (!placed.ok) {
    deps.authenticator.release(identity.sessionId, connection);
    if ('error' in placed) connection.rejectConnect(command.id, placed.error, placed.reason);
    else if (placed.close === CloseCode.BadRequest) connection.rejectInput('unknown_group');
    else connection.close(placed.close, placed.reason);
    return;
  }
  const info = infoOf(connection, identity);
  if (placed.placements.length === 0) return welcome(deps, connection, command, { identity, info });
  try {
    const subs = await deps.serverSubscriptions.enterAll(connection, info, placed.placements);
    if (connection.isClosed) deps.authenticator.release(identity.sessionId, connection);
    else welcome(deps, connection, command, { identity, info, subs });
  } catch (error) {
    deps.authenticator.release(identity.sessionId, connection);
    if (!(error instanceof AppError)) throw error;
    connection.rejectConnect(command.id, ReplyError.Internal);
  }
};

/** How others see a connection of this identity. */
export const infoOf = ({ id }: Connection, { user, info }: ClientIdentity): ClientInfo => ({
  user,
  client: id,
  ...(info === undefined ? {} : { connInfo: info }),
});

const turnAway = (
  connection: Connection,
  command: ConnectCommand,
  admission: Exclude<AuthenticationResult, { ok: true }>,
): void => {
  switch (admission.why) {
    case 'invalid':
      connection.close(CloseCode.InvalidToken);
      break;
    case 'ended':
      connection.endSession(admission.reason);
      break;
    case 'none':
      connection.rejectInput('no_credential');
      break;
    case 'no_user':
      connection.close(CloseCode.PermissionDenied);
      break;
    case 'expired':
      connection.rejectConnect(command.id, ReplyError.TokenExpired);
      break;
    case 'limit_reached':
      // Places are given back all the time, those of connections that the client has lost among them.
      connection.rejectConnect(command.id, ReplyError.TooManyRequests);
      break;
    case 'unavailable':
      connection.rejectConnect(command.id, ReplyError.Internal);
      break;
    default:
      admission satisfies never;
  }
};

const welcome = (
  { gateway, version, pingIntervalMs, clock }: ConnectDeps,
  connection: Connection,
  command: ConnectCommand,
  entered: {
    readonly identity: ClientIdentity;
    readonly info: ClientInfo;
    readonly subs?: ReadonlyMap<string, SubscribeResult>;
  },
): void => {
  const { identity, info, subs } = entered;
  const { user, sessionId } = identity;
  connection.accept(identity, info);
  connection.reply({
    id: command.id,
    is: 'connect',
    result: {
      client: connection.id,
      version: `muster ${version}`,
      ...expiryOf(identity, clock),
      data: JSON.stringify({ gateway, user, session: sessionId }),
      ...(subs === undefined ? {} : { subs }),
      ...(connection.pingsByFrame
        ? {}
        : { pingS: Math.max(1, Math.round(pingIntervalMs / 1000)), pong: true }),
    },
  });
  connection.sendBuffer.release();
  // Rights may have changed while it was being let in.
  connection.reviewPermissions();
};

/** Whether and when the client must come with another token: not for sessions, whose end is ours to see. */
export const expiryOf = (
  { sessionId, expiresAt }: ClientIdentity,
  clock: Clock,
): { readonly expires?: true; readonly ttlS?: number } =>
  sessionId !== undefined || expiresAt === Number.POSITIVE_INFINITY
    ? {}
    : { expires: true, ttlS: ttlOf(expiresAt, clock) };
