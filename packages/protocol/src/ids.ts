import { MAX_GROUP_NAME_LENGTH } from './limits.ts';

/** Name of a group, 1–255 printable ASCII characters; `channel` on the wire. */
export type GroupName = string & { readonly __id: 'group' };

/** Id of one connection: a UUID chosen by the gateway. */
export type ClientId = string & { readonly __id: 'client' };

/** Tenant of requests and tokens without a tenant. */
export const DEFAULT_TENANT = 'default';

const TENANT = /^[\w.-]{1,64}$/;
const PRINTABLE_ASCII = /^[\x20-\x7e]+$/;
const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;

/** Undefined for text that is empty, too long, or not printable ASCII. */
export const parseGroupName = (text: string): GroupName | undefined =>
  text.length <= MAX_GROUP_NAME_LENGTH && PRINTABLE_ASCII.test(text) ? (text as GroupName) : undefined;

/** Cause for which a text is not a group name, for an error text. */
export const groupNameFault = (text: string): string => {
  const cause =
    text.length > MAX_GROUP_NAME_LENGTH ? `has ${text.length} characters` : 'has characters other than printable ASCII';
  return `${cause}; a name has 1 to ${MAX_GROUP_NAME_LENGTH} printable ASCII characters`;
};

export const isTenantName = (text: string): boolean => TENANT.test(text);

/** Undefined for anything but a canonical lower-case UUID. */
export const parseClientId = (text: string): ClientId | undefined => (UUID.test(text) ? (text as ClientId) : undefined);

/** User of the synthetic check of the health aggregator. */
export const SYNTHETIC_CHECK_USER = 'muster-journey';

/** User of connections that were opened with a tail token. */
export const TAIL_USER = 'muster-console';

const OWN_USERS: ReadonlySet<unknown> = new Set([SYNTHETIC_CHECK_USER, TAIL_USER, 'muster-cli']);

/** True for the users of Muster's own tools, which lists for operators omit by default. */
export const isOwnUser = (user: string | null): boolean => OWN_USERS.has(user);
