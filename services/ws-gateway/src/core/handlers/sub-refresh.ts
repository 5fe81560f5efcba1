import type { Clock } from '@muster/kit/clock';
import { CloseCode, ReplyError, UnsubscribeCode } from '@muster/protocol/codes';
import type { SubRefreshCommand } from '@muster/protocol/commands';
import type { GroupName } from '@muster/protocol/ids';
import type { Connection } from '../connection/connection.ts';
import { expiryOf } from '../group/subscribe-result.ts';
import type { SubscriptionGrant, SubscriptionTokenReader } from '../ports.ts';
import { isGrantFor } from './subscribe-permissions.ts';

export interface SubRefreshDeps {
  readonly clock: Clock;
  readonly subscriptionTokens: SubscriptionTokenReader;
}

/** `sub_refresh`: a further subscription token, before the present one expires. */
export const createSubRefresh =
  (deps: SubRefreshDeps) =>
  (connection: Connection, command: SubRefreshCommand): Promise<void> | undefined => {
    const { phase, memberships } = connection;
    if (phase.is !== 'live') return undefined;
    if (command.channel === '') return void connection.rejectInput('no_group');
    const membership = memberships.get(command.channel);
    if (membership?.is !== 'live') return void connection.fail(command.id, ReplyError.PermissionDenied);
    if (membership.isServerSide) return void connection.rejectInput('server_side');
    if (command.token === '') return void connection.fail(command.id, ReplyError.BadRequest, '`token` is missing');
    return refresh(deps, connection, command, membership.subscription.group.name);
  };

const refresh = async (
  { clock, subscriptionTokens }: SubRefreshDeps,
  connection: Connection,
  { id, token }: SubRefreshCommand,
  group: GroupName,
): Promise<void> => {
  const grant = await subscriptionTokens.read(token);
  if (connection.isClosed) return;
  if (!grant.ok) return reject(connection, id, group, grant);
  if (!isGrantFor(grant, connection, group)) return connection.close(CloseCode.InvalidToken);
  const { expiresAt } = grant.terms;
  if (expiresAt !== undefined && expiresAt <= clock.now()) return connection.fail(id, ReplyError.Expired);
  // The client may have unsubscribed meanwhile.
  const membership = connection.memberships.get(group);
  if (membership?.is !== 'live') return connection.fail(id, ReplyError.PermissionDenied);
  connection.memberships.set(group, { ...membership, basis: { is: 'token', key: grant.tokenKey } });
  connection.expireSubscription(group, expiresAt ?? Number.POSITIVE_INFINITY);
  connection.reply({ id, is: 'sub_refresh', result: expiryOf(expiresAt, clock) });
};

const reject = (
  connection: Connection,
  id: number,
  group: GroupName,
  { why }: Exclude<SubscriptionGrant, { ok: true }>,
): void => {
  if (why === 'unavailable') connection.fail(id, ReplyError.Internal);
  else if (why === 'none') connection.fail(id, ReplyError.NotAvailable);
  else if (why === 'invalid') connection.close(CloseCode.InvalidToken);
  else {
    // SDKs fetch a new token after an unsubscribe push; they treat the error alone as final.
    connection.unsubscribe(group, UnsubscribeCode.Expired);
    connection.fail(id, ReplyError.TokenExpired);
  }
};
