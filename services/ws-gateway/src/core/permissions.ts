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

/** An action of a client in a group. */
export interface PermissionRequest {
  readonly action: GroupAction;
  readonly identity: ClientIdentity;
  readonly group: GroupName;
  readonly options: GroupOptions;
  readonly isSubscribed: boolean;
}

/**
 * True when a client may perform an action: by a grant of its session; else not in groups of other users; else by the options of the
 * group. Private groups (`$…`) require a grant or a token to subscribe; their subscribers have the permissions of any subscriber.
 */
export const isAllowed = (request: PermissionRequest): boolean => {
  const { identity, group, action } = request;
  if (identity.isUnrestricted || isGranted(identity.grants, group, action)) return true;
  return mayReach(request) && byOptions(request);
};

/** True when a grant or the name of the group permits access; its options are not checked. */
export const mayReach = (request: PermissionRequest): boolean => {
  const { identity, group, action } = request;
  if (identity.isUnrestricted || isGranted(identity.grants, group, action)) return true;
  if (identity.isReceiveOnly) return false;
  return isForUser(group, identity.user) && (!group.startsWith('$') || request.isSubscribed);
};

/** With a callback configured, the options grant nothing. */
const byOptions = (request: PermissionRequest): boolean => {
  const { action, options, isSubscribed } = request;
  if (request.identity.user === '' && !options[FOR_ANONYMOUS[action]]) return false;
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

/** The options that anonymous clients need in addition. */
const FOR_ANONYMOUS = {
  subscribe: 'allowSubscribeForAnonymous',
  publish: 'allowPublishForAnonymous',
  presence: 'allowPresenceForAnonymous',
  history: 'allowHistoryForAnonymous',
} as const satisfies Record<GroupAction, keyof GroupOptions>;

/** `name#ann,bob` is for these users only, encoded by {@link userInName}; a name without `#` is for all. */
export const isForUser = (group: GroupName, user: string): boolean => {
  const mark = group.lastIndexOf('#');
  if (mark < 0) return true;
  const users = group.slice(mark + 1).split(',');
  return user !== '' && users.includes(userInName(user));
};

/** Separators, the escape character, and characters that a group name cannot contain. */
const RESERVED = /[#,%]|[^\x20-\x7e]/gu;
/** 255 characters of a group name less the longest prefix of personal groups, 64. */
const MAX_LENGTH = 191;

/**
 * A user id encoded for the part of a group name after `#`: `#`, `,`, `%` and anything but printable ASCII is percent-encoded in
 * UTF-8, so that the encoding is unique. Above 191 characters it is `%sha256-` and the digest of the id in base64url.
 */
export const userInName = (user: string): string => {
  const encoded = user.replace(RESERVED, percentEncode);
  return encoded.length <= MAX_LENGTH ? encoded : `%sha256-${createHash('sha256').update(user).digest('base64url')}`;
};

const percentEncode = (character: string): string =>
  [...Buffer.from(character)].map((byte) => `%${byte.toString(16).toUpperCase().padStart(2, '0')}`).join('');
