import type { GroupName } from '@muster/protocol/ids';
import { type GroupAction, isGranted } from '@muster/session/grants';
import type { GroupOptions } from './namespaces.ts';
import type { Identity } from './ports.ts';

/** A client that wants to do something in a group. */
export interface Wish {
  readonly action: GroupAction;
  readonly identity: Identity;
  readonly group: GroupName;
  readonly options: GroupOptions;
  /** Whether the client is subscribed to the group. */
  readonly isSubscribed: boolean;
}

/**
 * Whether a client may: a grant of its session says yes; else groups of other users say no; else the options of the
 * group decide. Private groups (`$…`) open to nobody by options; once subscribed, a client is a member like any other.
 */
export const isAllowed = (wish: Wish): boolean => {
  const { identity, group, action } = wish;
  if (isGranted(identity.grants, group, action)) return true;
  if (!isForUser(group, identity.user)) return false;
  if (group.startsWith('$') && !wish.isSubscribed) return false;
  return byOptions(wish);
};

const byOptions = ({ action, options, isSubscribed }: Wish): boolean => {
  switch (action) {
    case 'subscribe':
      return options.allowSubscribeForClient;
    case 'publish':
      return options.allowPublishForClient || (isSubscribed && options.allowPublishForSubscriber);
    case 'presence':
      return options.allowPresenceForClient || (isSubscribed && options.allowPresenceForSubscriber);
    case 'history':
      return options.allowHistoryForClient || (isSubscribed && options.allowHistoryForSubscriber);
    default:
      return action satisfies never;
  }
};

/** `name#ann,bob` is for these users only; a name without `#` for everybody. */
const isForUser = (group: GroupName, user: string): boolean => {
  const mark = group.lastIndexOf('#');
  return (
    mark < 0 ||
    (user !== '' &&
      group
        .slice(mark + 1)
        .split(',')
        .includes(user))
  );
};
