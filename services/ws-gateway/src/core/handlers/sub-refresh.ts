import type { Clock } from '@muster/kit/clock';
import { CloseCode, ReplyError, UnsubscribeCode } from '@muster/protocol/codes';
import type { SubRefreshCommand } from '@muster/protocol/commands';
import type { GroupName } from '@muster/protocol/ids';
import type { Connection } from '../connection/connection.ts';
import { ttlOf } from '../group/subscribe-result.ts';
import type { SubscriptionGrant, SubscriptionTokenReader } from '../ports.ts';
import { isPermitFor } from './subscribe-permissions.ts';

export interface SubRefreshDeps {
  readonly clock: Clock;
  readonly subscriptionTokens: SubscriptionTokenReader;
}

/** `sub_refresh`: another token for a subscription, before the one at hand runs out. */
export const createSubRefresh =
  (deps: SubRefreshDeps) =>
  (connection: Connection, command: SubRefreshCommand): Promise<void> | undefined => {
    const { phase, memberships } = connection;
    if (phase.is !== 'live') return undefined;
    if (command.channel === '') return void connection.rejectInput('no_group');
    const membership = memberships.get(command.channel);
    if (membership?.is !== 'live') return void connection.fail(command.id, ReplyError.PermissionDenied);
    if (membership.isServerSide) return void connection.rejectInput('server_side');
    if (command.token === '')
      return void connection.fail(command.id, ReplyError.BadRequest, '`token` is missing');
    return refresh(deps, connection, command, membership.subscription.group.name);
  };

const refresh = async (
  { clock, subscriptionTokens }: SubRefreshDeps,
  connection: Connection,
  { id, token }: SubRefreshCommand,
  group: GroupName,
): Promise<void> => {
  const permit = await subscriptionTokens.read(token);
  if (connection.isClosed) return;
  if (!permit.ok) return turnDown(connection, id, group, permit);
  if (!isPermitFor(permit, connection, group)) return connection.close(CloseCode.InvalidToken);
  const { expiresAt } = permit.terms;
  if (expiresAt !== undefined && expiresAt <= clock.now()) return connection.fail(id, ReplyError.Expired);
  // It may have left meanwhile; then there is nothing to make longer.
  const membership = connection.memberships.get(group);
  if (membership?.is !== 'live') return connection.fail(id, ReplyError.PermissionDenied);
  connection.memberships.set(group, { ...membership, basis: { is: 'token', key: permit.tokenKey } });
  connection.expireSubscription(group, expiresAt ?? Number.POSITIVE_INFINITY);
  const result = expiresAt === undefined ? {} : { expires: true, ttlS: ttlOf(expiresAt, clock) };
  connection.reply({ id, is: 'sub_refresh', result });
};

const turnDown = (
  connection: Connection,
  id: number,
  group: GroupName,
  { why }: Exclude<SubscriptionGrant, { ok: true }>,
): void => {
  if (why === 'unavailable') connection.fail(id, ReplyError.Internal);
  else if (why === 'none') connection.fail(id, ReplyError.NotAvailable);
  else if (why === 'invalid') connection.close(CloseCode.InvalidToken);
  else {
    // First the end of the subscription, which SDKs answer with a new token; the error alone would be final to them.
    connection.unsubscribe(group, UnsubscribeCode.Expired);
    connection.fail(id, ReplyError.TokenExpired);
  }
};
