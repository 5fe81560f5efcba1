import { ReplyError } from '@muster/protocol/codes';
import type { SubscribeCommand } from '@muster/protocol/commands';
import { type GroupName, parseGroupName } from '@muster/protocol/ids';
import { MAX_GROUP_NAME_LENGTH } from '@muster/protocol/limits';
import type { Connection, Membership } from '../connection.ts';
import type { Hub } from '../hub.ts';
import type { Permissions } from '../permissions.ts';

export interface SubscribeDeps {
  readonly hub: Hub;
  readonly permissions: Permissions;
  readonly maxSubscriptions: number;
}

const JOINING: Membership = { is: 'joining' };

/** `subscribe`: the checks in the order of PROTOCOL.md §4.1, then the bus, then the reply, then live. */
export const createSubscribe =
  (deps: SubscribeDeps) =>
  (connection: Connection, command: SubscribeCommand): Promise<void> | undefined => {
    if (command.channel === '') return void connection.refuse('no_group');
    if (command.delta !== '' && command.delta !== 'fossil') return void connection.refuse('unknown_delta');
    const group = check(deps, connection, command);
    if (typeof group === 'number') return void connection.fail(command.id, group);
    connection.memberships.set(group, JOINING);
    return join(deps, connection, command, group);
  };

/** The group to join, or what is wrong. */
const check = (
  { permissions, maxSubscriptions }: SubscribeDeps,
  { phase, memberships }: Connection,
  command: SubscribeCommand,
): GroupName | ReplyError => {
  if (command.type !== 0) return ReplyError.BadRequest;
  if (command.channel.length > MAX_GROUP_NAME_LENGTH) return ReplyError.BadRequest;
  if (memberships.has(command.channel)) return ReplyError.AlreadySubscribed;
  if (memberships.size >= maxSubscriptions) return ReplyError.LimitExceeded;
  const group = parseGroupName(command.channel);
  if (group === undefined) return ReplyError.BadRequest;
  if (phase.is !== 'live' || !permissions.maySubscribe(phase.identity, group))
    return ReplyError.PermissionDenied;
  if (command.filter !== undefined) return ReplyError.BadRequest;
  return group;
};

const join = async (
  { hub }: SubscribeDeps,
  connection: Connection,
  command: SubscribeCommand,
  group: GroupName,
): Promise<void> => {
  try {
    const subscription = await hub.join(group, 'json', connection.outbox);
    if (connection.isOver) return hub.leave(subscription);
    connection.memberships.set(group, { is: 'live', subscription });
    connection.reply({ id: command.id, is: 'subscribe', result: {} });
    hub.goLive(subscription);
  } catch (error) {
    connection.memberships.delete(group);
    throw error;
  }
};
