import { ReplyError } from '@muster/protocol/codes';
import type { PublishCommand } from '@muster/protocol/commands';
import { parseGroupName } from '@muster/protocol/ids';
import type { Connection } from '../connection.ts';
import type { Hub } from '../hub.ts';
import type { Namespaces } from '../namespaces.ts';
import { isAllowed } from '../permissions.ts';

export interface PublishDeps {
  readonly hub: Hub;
  readonly namespaces: Namespaces;
}

/** `publish`: answered when the bus has taken it. The publisher hears itself, before or after the answer. */
export const createPublish =
  ({ hub, namespaces }: PublishDeps) =>
  (connection: Connection, command: PublishCommand): Promise<void> | undefined => {
    const { phase, memberships } = connection;
    const { id, data } = command;
    if (phase.is !== 'live') return undefined;
    if (command.channel === '') return void connection.refuse('no_group');
    const name = parseGroupName(command.channel);
    if (name === undefined || command.type !== 0) return void connection.fail(id, ReplyError.BadRequest);
    const options = namespaces.optionsOf(name);
    if (options === undefined) return void connection.fail(id, ReplyError.UnknownGroup);
    if (data === undefined) return void connection.fail(id, ReplyError.BadRequest);
    const isSubscribed = memberships.get(name)?.is === 'live';
    if (!isAllowed({ action: 'publish', identity: phase.identity, group: name, options, isSubscribed })) {
      return void connection.fail(id, ReplyError.PermissionDenied);
    }
    connection.publishing += 1;
    return hub
      .publish({
        name,
        publication: { data, info: phase.info, isBinary: command.isBinary ?? false },
        retention: options.retention,
      })
      .then(() => connection.reply({ id, is: 'publish' }))
      .finally(() => {
        connection.publishing -= 1;
      });
  };
