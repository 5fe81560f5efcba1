import { DEFAULT_TENANT, type GroupName } from '@muster/protocol/ids';

/**
 * A group of one tenant: what gateways, streams, presence and Redis know it by. Clients see its name only. Groups of the
 * default tenant have their names for keys, so that a fleet without tenants is as it always was.
 */
export type GroupKey = string & { readonly __id: 'group-key' };

/** Neither the name of a tenant nor that of a group can hold it, so no two groups have one key. */
const SEPARATOR = '\x1f';

/** The key of a group. `tenant` has been checked: letters, digits, `_`, `.` and `-`. */
export const groupKeyOf = (tenant: string, group: GroupName): GroupKey =>
  (tenant === DEFAULT_TENANT ? group : tenant + SEPARATOR + group) as string as GroupKey;

/** The name of the group, as its clients know it. */
export const groupNameOf = (key: GroupKey): GroupName =>
  key.slice(key.indexOf(SEPARATOR) + 1) as string as GroupName;

export const tenantOf = (key: GroupKey): string => {
  const end = key.indexOf(SEPARATOR);
  return end < 0 ? DEFAULT_TENANT : key.slice(0, end);
};
