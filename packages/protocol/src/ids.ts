import { MAX_GROUP_NAME_LENGTH } from './limits.ts';

/** Name of a group: 1–255 printable ASCII characters. The wire calls it `channel`. */
export type GroupName = string & { readonly __id: 'group' };

/** One connection, for as long as it lives: a UUID chosen by the gateway. */
export type ClientId = string & { readonly __id: 'client' };

/** The tenant of whoever names none. */
export const DEFAULT_TENANT = 'default';

const TENANT = /^[\w.-]{1,64}$/;
const PRINTABLE_ASCII = /^[\x20-\x7e]+$/;
const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;

/** A group name, or undefined for text that is empty, too long, or not printable ASCII. */
export const parseGroupName = (text: string): GroupName | undefined =>
  text.length <= MAX_GROUP_NAME_LENGTH && PRINTABLE_ASCII.test(text) ? (text as GroupName) : undefined;

/** Why a text is not a group name, for an error. */
export const groupNameFault = (text: string): string => {
  const cause =
    text.length > MAX_GROUP_NAME_LENGTH
      ? `has ${text.length} characters`
      : 'has characters other than printable ASCII';
  return `${cause}; a name has 1 to ${MAX_GROUP_NAME_LENGTH} printable ASCII characters`;
};

/** Whether a text can be the name of a tenant. */
export const isTenantName = (text: string): boolean => TENANT.test(text);

/** A client id, or undefined for anything but a lower-case canonical UUID. */
export const parseClientId = (text: string): ClientId | undefined =>
  UUID.test(text) ? (text as ClientId) : undefined;

/** The user of the synthetic check of the health aggregator. */
export const SYNTHETIC_CHECK_USER = 'muster-journey';

/** User of connections that were opened with a tail token. */
export const TAIL_USER = 'muster-console';

const OWN_USERS: ReadonlySet<unknown> = new Set([SYNTHETIC_CHECK_USER, TAIL_USER, 'muster-cli']);

/** True for users under which tools of the fleet itself sign in. Lists for operators leave them out unless they are asked for. */
export const isOwnUser = (user: string | null): boolean => OWN_USERS.has(user);
