import { CloseCode, ReplyError } from '@muster/protocol/codes';
import type { RefreshCommand } from '@muster/protocol/commands';
import { infoOf } from '../connection/any-connection.ts';
import type { Connection } from '../connection/connection.ts';
import type { AuthenticationResult, ClientIdentity, SessionAuthenticator } from '../ports.ts';
import { type ConnectDeps, tokenExpiryOf } from './connect.ts';

export type RefreshDeps = Pick<ConnectDeps, 'clock' | 'version'> & {
  readonly authenticator: Pick<SessionAuthenticator, 'refresh'>;
};

/** `refresh`: a further token of the same user, before the present one expires. */
export const createRefresh =
  (deps: RefreshDeps) =>
  (connection: Connection, command: RefreshCommand): Promise<void> | undefined => {
    const { phase } = connection;
    if (phase.is !== 'live') return undefined;
    // A session is renewed by the session service, not by its client.
    if (phase.identity.sessionId !== undefined) return void connection.fail(command.id, ReplyError.NotAvailable);
    if (command.token === '') return void connection.rejectInput('no_token');
    return refresh(deps, connection, command, phase.identity);
  };

const refresh = async (
  { authenticator, clock, version }: RefreshDeps,
  connection: Connection,
  { id, token }: RefreshCommand,
  before: ClientIdentity,
): Promise<void> => {
  const result = await authenticator.refresh(token, connection.host);
  if (connection.isClosed) return;
  if (!result.ok) return reject(connection, id, result);
  const { identity } = result;
  if (identity.user !== before.user || identity.tenant !== before.tenant)
    return connection.close(CloseCode.InvalidToken);
  if (identity.expiresAt <= clock.now()) return connection.close(CloseCode.Expired);
  // Server-side subscriptions are opened by `connect` only: the client must reconnect.
  if (!hasSameGroups(identity, before)) return connection.close(CloseCode.InsufficientState);
  connection.updateIdentity(identity, infoOf(connection.id, identity));
  const reply = { client: connection.id, version: `muster ${version}`, ...tokenExpiryOf(identity, clock) };
  connection.reply({ id, is: 'refresh', result: reply });
};

const reject = (connection: Connection, id: number, { why }: Exclude<AuthenticationResult, { ok: true }>): void => {
  if (why === 'unavailable') connection.fail(id, ReplyError.Internal);
  else if (why === 'none') connection.fail(id, ReplyError.NotAvailable);
  else if (why === 'expired') connection.close(CloseCode.Expired);
  else connection.close(CloseCode.InvalidToken);
};

const hasSameGroups = ({ subs: a }: ClientIdentity, { subs: b }: ClientIdentity): boolean =>
  (a?.size ?? 0) === (b?.size ?? 0) && [...(a?.keys() ?? [])].every((name) => b?.has(name));
