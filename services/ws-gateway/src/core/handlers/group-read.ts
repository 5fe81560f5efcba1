import { type GroupKey, groupKeyOf, groupNameOf } from '@muster/bus/group-key';
import { ReplyError } from '@muster/protocol/codes';
import { groupNameFault, parseGroupName } from '@muster/protocol/ids';
import type { GroupAction } from '@muster/session/grants';
import type { Connection } from '../connection/connection.ts';
import type { Namespaces } from '../namespaces.ts';
import { isAllowed, type PermissionRequest } from '../permissions.ts';
import { NO_NAMESPACE } from './command-error.ts';

export interface GroupReadDeps {
  readonly namespaces: Namespaces;
}

/**
 * The checks that all reads of a group have in common; undefined when the command has been answered. The caller reports missing
 * permissions, after unavailable features.
 */
export const authorizeGroupRead = (
  { namespaces }: GroupReadDeps,
  connection: Connection,
  { id, channel }: { readonly id: number; readonly channel: string },
  action: GroupAction,
) => {
  const { phase, memberships } = connection;
  if (phase.is !== 'live') return undefined;
  if (channel === '') return void connection.rejectInput('no_group');
  const group = parseGroupName(channel);
  if (group === undefined)
    return void connection.fail(id, ReplyError.BadRequest, `\`channel\` ${groupNameFault(channel)}`);
  const options = namespaces.optionsOf(group);
  if (options === undefined) return void connection.fail(id, ReplyError.UnknownGroup, NO_NAMESPACE);
  const isSubscribed = memberships.get(group)?.is === 'live';
  const { identity } = phase;
  const key = groupKeyOf(identity.tenant, group);
  return { key, options, isAllowed: isAllowed({ action, identity, group, options, isSubscribed }) };
};

/** Repeats the decision after a read or callback: the permission may have been revoked meanwhile. */
export const isStillAllowed = (
  { namespaces }: GroupReadDeps,
  { identity, memberships }: Connection,
  key: GroupKey,
  action: GroupAction,
  decide: (request: PermissionRequest) => boolean = isAllowed,
): boolean => {
  const group = groupNameOf(key);
  const options = namespaces.optionsOf(group);
  if (identity === undefined || options === undefined) return false;
  const isSubscribed = memberships.get(group)?.is === 'live';
  return decide({ action, identity, group, options, isSubscribed });
};
