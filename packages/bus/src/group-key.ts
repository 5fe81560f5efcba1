import { DEFAULT_TENANT, type GroupName } from '@muster/protocol/ids';

/**
 * Tenant and name of a group: its key in gateways, streams, presence and Redis. Clients see the name only. The key of a
 * group of the default tenant is its name, so that a fleet without tenants has the same Redis keys as before tenants.
 */
export type GroupKey = string & { readonly __id: 'group-key' };

/** Not allowed in tenants and group names, so keys are distinct. */
const SEPARATOR = '\x1f';

/** `tenant` must be valid: letters, digits, `_`, `.` and `-`. */
export const groupKeyOf = (tenant: string, group: GroupName): GroupKey =>
  (tenant === DEFAULT_TENANT ? group : tenant + SEPARATOR + group) as string as GroupKey;

export const groupNameOf = (key: GroupKey): GroupName => key.slice(key.indexOf(SEPARATOR) + 1) as string as GroupName;

export const tenantOf = (key: GroupKey): string => {
  const end = key.indexOf(SEPARATOR);
  return end < 0 ? DEFAULT_TENANT : key.slice(0, end);
};
