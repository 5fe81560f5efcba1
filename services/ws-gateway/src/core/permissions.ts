import type { GroupName } from '@muster/protocol/ids';
import type { Identity } from './ports.ts';

/** Decides what a session may do in a group. */
export interface Permissions {
  maySubscribe(identity: Identity, group: GroupName): boolean;
  mayPublish(identity: Identity, group: GroupName): boolean;
}

/**
 * What holds without a configuration of groups: every signed-in session, guests included, may use every group, but
 * for names that are reserved: `$…` needs a token, `…#…` belongs to users.
 */
export const openPermissions: Permissions = {
  maySubscribe: (_, group) => !isReserved(group),
  mayPublish: (_, group) => !isReserved(group),
};

const isReserved = (group: GroupName): boolean => group.startsWith('$') || group.includes('#');
