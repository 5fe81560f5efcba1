import type { UnsubscribeCommand } from '@muster/protocol/commands';
import type { Connection } from '../connection/connection.ts';
import type { Hub } from '../group/hub.ts';

/** `unsubscribe`: afterwards nothing of the group is written. Not being subscribed is a success too. */
export const createUnsubscribe =
  ({ hub }: { readonly hub: Hub }) =>
  (connection: Connection, command: UnsubscribeCommand): void => {
    if (command.channel === '') {
      connection.refuse('no_group');
      return;
    }
    const membership = connection.memberships.get(command.channel);
    if (membership?.is === 'live') {
      connection.memberships.delete(command.channel);
      hub.leave(membership.subscription);
    }
    connection.reply({ id: command.id, is: 'unsubscribe' });
  };
