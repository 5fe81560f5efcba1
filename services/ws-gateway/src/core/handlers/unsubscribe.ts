import type { UnsubscribeCommand } from '@muster/protocol/commands';
import type { Connection } from '../connection/connection.ts';
import type { Hub } from '../group/hub.ts';

/** `unsubscribe`: no message of the group follows the reply. Succeeds without a subscription, too. */
export const createUnsubscribe =
  ({ hub }: { readonly hub: Hub }) =>
  (connection: Connection, command: UnsubscribeCommand): undefined => {
    if (command.channel === '') return void connection.rejectInput('no_group');
    const membership = connection.memberships.get(command.channel);
    if (membership?.is === 'live') {
      connection.memberships.delete(command.channel);
      hub.leave(membership.subscription);
    }
    connection.reply({ id: command.id, is: 'unsubscribe' });
  };
