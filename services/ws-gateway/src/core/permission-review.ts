import { CloseCode, UnsubscribeCode } from '@muster/protocol/codes';
import type { GroupName } from '@muster/protocol/ids';
import type { AnyConnection } from './connection/any-connection.ts';
import type { Connection } from './connection/connection.ts';
import type { GroupOptions, Namespaces } from './namespaces.ts';
import { isAllowed, type SubscribePermissionBasis } from './permissions.ts';
import type { ClientIdentity } from './ports.ts';

export interface PermissionReviewDeps {
  readonly namespaces: Namespaces;
  /** False for a key of application tokens that has been taken away. */
  isTokenKeyValid(key: object): boolean;
  /** False when the connection's tenant does not exist at the host that it came to any more. */
  isTenantHost(connection: AnyConnection): boolean;
}

/** Decides open connections and memberships again, after rights have changed. */
export interface PermissionReview {
  /** Ends the memberships of one connection that its identity and the options of groups do not cover any more. */
  reviewSubscriptions(connection: Connection): void;
  /** Whether a membership that was decided earlier would be granted now. */
  isStillGranted(identity: ClientIdentity, group: GroupName, basis: SubscribePermissionBasis): boolean;
  /** Reviews all connections and their credentials in slices, so that the event loop stays free between them. */
  reviewAll(connections: Iterable<AnyConnection>): Promise<void>;
}

/** Connections reviewed in one turn of the event loop. */
const SLICE = 250;

export const createPermissionReview = (deps: PermissionReviewDeps): PermissionReview => {
  const { namespaces, isTokenKeyValid } = deps;

  const isGranted = (
    identity: ClientIdentity,
    group: GroupName,
    basis: SubscribePermissionBasis,
    options: GroupOptions | undefined,
  ): boolean => {
    if (options === undefined) return false;
    switch (basis.is) {
      case 'rights':
        return isAllowed({ action: 'subscribe', identity, group, options, isSubscribed: false });
      case 'token':
        return basis.key === undefined || isTokenKeyValid(basis.key);
      case 'application':
      case 'server':
        return true;
      default:
        return basis satisfies never;
    }
  };

  const reviewSubscriptions = (connection: Connection): void => {
    const { identity } = connection;
    if (identity === undefined) return;
    for (const [name, membership] of connection.memberships) {
      // A subscribe that is under way is decided again before it begins.
      if (membership.is !== 'live') continue;
      const { subscription, basis } = membership;
      const group = name as GroupName;
      const options = namespaces.optionsOf(group);
      if (options === undefined || !isGranted(identity, group, basis, options))
        connection.unsubscribe(group, UnsubscribeCode.StateInvalidated);
      else if (subscription.receivesJoinLeave && !options.forcePushJoinLeave && basis.is !== 'server')
        subscription.receivesJoinLeave = isAllowed({
          ...{ action: 'presence', identity, group, options },
          isSubscribed: true,
        });
    }
  };

  const review = (connection: AnyConnection): void => {
    const key = connection.identity?.tokenKey;
    const isTrusted = (key === undefined || isTokenKeyValid(key)) && deps.isTenantHost(connection);
    if (isTrusted) connection.reviewPermissions();
    else connection.close(CloseCode.InvalidToken);
  };

  return {
    reviewSubscriptions,
    isStillGranted: (identity, group, basis) =>
      isGranted(identity, group, basis, namespaces.optionsOf(group)),
    reviewAll: async (connections) => {
      const all = [...connections];
      for (let from = 0; from < all.length; from += SLICE) {
        for (const connection of all.slice(from, from + SLICE)) review(connection);
        await new Promise((resolve) => setImmediate(resolve));
      }
    },
  };
};
