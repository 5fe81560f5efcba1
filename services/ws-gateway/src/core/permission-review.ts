import { CloseCode, UnsubscribeCode } from '@muster/protocol/codes';
import type { GroupName } from '@muster/protocol/ids';
import type { AnyConnection } from './connection/any-connection.ts';
import type { Connection } from './connection/connection.ts';
import type { GroupOptions, Namespaces } from './namespaces.ts';
import { isAllowed, type SubscribePermissionBasis } from './permissions.ts';
import type { ClientIdentity } from './ports.ts';
import { visitInSlices } from './time-slicing.ts';

export interface PermissionReviewDeps {
  readonly namespaces: Namespaces;
  /** False for a token key that was removed from the configuration. */
  isTokenKeyValid(key: object): boolean;
  /** False when the tenant of the connection no longer exists at its `Host`. */
  isTenantHost(connection: AnyConnection): boolean;
}

/** Connections reviewed per iteration of the event loop. */
const SLICE = 250;

/** Reviews the permissions of open connections and subscriptions after a change. */
export const createPermissionReview = (deps: PermissionReviewDeps) => {
  const { namespaces, isTokenKeyValid } = deps;

  const isGranted = (
    identity: ClientIdentity,
    group: GroupName,
    basis: SubscribePermissionBasis,
    options: GroupOptions | undefined,
  ): boolean => {
    if (options === undefined) return false;
    if (basis.is === 'rights') return isAllowed({ action: 'subscribe', identity, group, options, isSubscribed: false });
    return basis.is !== 'token' || basis.key === undefined || isTokenKeyValid(basis.key);
  };

  /** Ends the subscriptions of a connection that its identity and the options of groups no longer permit. */
  const reviewSubscriptions = (connection: Connection): void => {
    const { identity } = connection;
    if (identity === undefined) return;
    for (const [name, membership] of connection.memberships) {
      // A pending subscribe is checked again before it goes live.
      if (membership.is !== 'live') continue;
      const { subscription, basis } = membership;
      const group = name as GroupName;
      const options = namespaces.optionsOf(group);
      if (options === undefined || !isGranted(identity, group, basis, options))
        connection.unsubscribe(group, UnsubscribeCode.StateInvalidated);
      else if (subscription.receivesJoinLeave && !options.forcePushJoinLeave && basis.is !== 'server')
        subscription.receivesJoinLeave = isAllowed({
          action: 'presence',
          identity,
          group,
          options,
          isSubscribed: true,
        });
    }
  };

  const review = (connection: AnyConnection): void => {
    const key = connection.identity?.tokenKey;
    const isValid = (key === undefined || isTokenKeyValid(key)) && deps.isTenantHost(connection);
    if (isValid) connection.reviewPermissions();
    else connection.close(CloseCode.InvalidToken);
  };

  return {
    reviewSubscriptions,
    /** True when a permission that was granted earlier would be granted now. */
    isStillGranted: (identity: ClientIdentity, group: GroupName, basis: SubscribePermissionBasis): boolean =>
      isGranted(identity, group, basis, namespaces.optionsOf(group)),
    /** Reviews all connections and their credentials, in slices. */
    reviewAll: (connections: Iterable<AnyConnection>): Promise<void> => visitInSlices([...connections], SLICE, review),
  };
};

export type PermissionReview = ReturnType<typeof createPermissionReview>;
