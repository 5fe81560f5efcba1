import { createHash } from 'node:crypto';
import type { GroupName } from '@muster/protocol/ids';
import { type GroupAction, isGranted } from '@muster/session/grants';
import type { GroupOptions } from './namespaces.ts';
import type { ClientIdentity } from './ports.ts';

/**
 * Basis of a subscription: the client's permissions (grants, group name, options), a subscription token, a callback of the
 * application, or the server API. Permissions and token keys may be revoked while it lasts.
 */
export type SubscribePermissionBasis =
  | { readonly is: 'rights' | 'application' | 'server' }
  | { readonly is: 'token'; readonly key: object | undefined };

/** A client that wants to do something in a group. */
export interface PermissionRequest {
  readonly action: GroupAction;
  readonly identity: ClientIdentity;
  readonly group: GroupName;
  readonly options: GroupOptions;
  /** Whether the client is subscribed to the group. */
  readonly isSubscribed: boolean;
}

/**
 * Whether a client may: a grant of its session says yes; else groups of other users say no; else the options of the
 * group decide. Private groups (`$…`) open to nobody by options; once subscribed, a client is a member like any other.
 */
export const isAllowed = (wish: PermissionRequest): boolean => {
  const { identity, group, action } = wish;
  if (identity.isUnrestricted || isGranted(identity.grants, group, action)) return true;
  return mayReach(wish) && byOptions(wish);
};

/** Whether the name of a group, or a grant, lets a client near it: what its options allow is not looked at. */
export const mayReach = (wish: PermissionRequest): boolean => {
  const { identity, group, action } = wish;
  if (identity.isUnrestricted || isGranted(identity.grants, group, action)) return true;
  return isForUser(group, identity.user) && (!group.startsWith('$') || wish.isSubscribed);
};

/** Where the application is asked, the options open nothing. */
const byOptions = (wish: PermissionRequest): boolean => {
  const { action, options, isSubscribed } = wish;
  if (wish.identity.user === '' && !anonymousMay(wish)) return false;
  switch (action) {
    case 'subscribe':
      return options.allowSubscribeForClient && !options.subscribeCallback;
    case 'publish':
      if (options.publishCallback) return false;
      return options.allowPublishForClient || (isSubscribed && options.allowPublishForSubscriber);
    case 'presence':
      return options.allowPresenceForClient || (isSubscribed && options.allowPresenceForSubscriber);
    case 'history':
      return options.allowHistoryForClient || (isSubscribed && options.allowHistoryForSubscriber);
    default:
      return action satisfies never;
  }
};

/** What is open to clients is open to anonymous ones only where the options say so as well. */
const anonymousMay = ({ action, options }: PermissionRequest): boolean => {
  switch (action) {
    case 'subscribe':
      return options.allowSubscribeForAnonymous;
    case 'publish':
      return options.allowPublishForAnonymous;
    case 'presence':
      return options.allowPresenceForAnonymous;
    case 'history':
      return options.allowHistoryForAnonymous;
    default:
      return action satisfies never;
  }
};

/** `name#ann,bob` is for these users only; a name without `#` for everybody. Users stand there as {@link userInName} writes them. */
export const isForUser = (group: GroupName, user: string): boolean => {
  const mark = group.lastIndexOf('#');
  if (mark < 0) return true;
  return (
    user !== '' &&
    group
      .slice(mark + 1)
      .split(',')
      .includes(userInName(user))
  );
};

/** What parts the users in a name from the rest and from each other, what escapes, and what a name cannot hold. */
const RESERVED = /[#,%]|[^\x20-\x7e]/u;
const RESERVED_ALL = /[#,%]|[^\x20-\x7e]/gu;
/** With the longest prefix of personal groups, 64, the name is still one of 255 characters. */
const MAX_LENGTH = 191;

/**
 * A user id as it stands after the `#` of a group name: `#`, `,`, `%` and what is not printable ASCII percent-encoded in UTF-8,
 * so that two users never share a name. An id that becomes longer than 191 characters is `%sha256-` and its digest in base64url.
 */
export const userInName = (user: string): string => {
  if (user.length <= MAX_LENGTH && !RESERVED.test(user)) return user;
  const encoded = user.replace(RESERVED_ALL, percentEncode);
  return encoded.length <= MAX_LENGTH
    ? encoded
    : `%sha256-${createHash('sha256').update(user).digest('base64url')}`;
};

const percentEncode = (character: string): string =>
  [...Buffer.from(character)].map((byte) => `%${byte.toString(16).toUpperCase().padStart(2, '0')}`).join('');
