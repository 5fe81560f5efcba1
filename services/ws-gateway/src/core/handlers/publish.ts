import { ReplyError } from '@muster/protocol/codes';
import type { PublishCommand } from '@muster/protocol/commands';
import { parseGroupName } from '@muster/protocol/ids';
import type { Connection } from '../connection.ts';
import type { Hub } from '../hub.ts';
import type { Permissions } from '../permissions.ts';

export interface PublishDeps {
  readonly hub: Hub;
  readonly permissions: Permissions;
}

/** `publish`: answered when the bus has taken it. The publisher hears itself, before or after the answer. */
export const createPublish =
  ({ hub, permissions }: PublishDeps) =>
  (connection: Connection, command: PublishCommand): Promise<void> | undefined => {
    const { phase } = connection;
    if (command.channel === '') return void connection.refuse('no_group');
    const group = parseGroupName(command.channel);
    if (group === undefined || command.type !== 0 || command.data === undefined) {
      return void connection.fail(command.id, ReplyError.BadRequest);
    }
    if (phase.is !== 'live' || !permissions.mayPublish(phase.identity, group)) {
      return void connection.fail(command.id, ReplyError.PermissionDenied);
    }
    connection.publishing += 1;
    return hub
      .publish(group, command.data, phase.info)
      .then(() => connection.reply({ id: command.id, is: 'publish' }))
      .finally(() => {
        connection.publishing -= 1;
      });
  };
