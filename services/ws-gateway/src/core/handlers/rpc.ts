import { ReplyError } from '@muster/protocol/codes';
import type { RpcCommand } from '@muster/protocol/commands';
import { type AppCallbacks, replyWithAppError } from '../callbacks.ts';
import type { Connection } from '../connection/connection.ts';

/** `rpc`: calls the application. Calls of one client run concurrently. */
export const createRpc =
  ({ callbacks }: { readonly callbacks: Pick<AppCallbacks, 'has' | 'rpc'> }) =>
  (connection: Connection, { id, method, data, isBinary }: RpcCommand): Promise<void> | undefined => {
    const { phase } = connection;
    if (phase.is !== 'live') return undefined;
    if (phase.identity.isReceiveOnly) return void connection.fail(id, ReplyError.PermissionDenied);
    if (!callbacks.has('rpc')) return void connection.fail(id, ReplyError.NotAvailable);
    const caller = { client: connection.id, identity: phase.identity, encoding: connection.codec.encoding };
    const request = { method, ...(data === undefined ? {} : { data }), isBinary: isBinary ?? false };
    return connection.untilReplied(async () => {
      const answer = await callbacks.rpc(caller, request);
      const bytes = answer.is === 'result' ? Buffer.byteLength(answer.result.data ?? '') : 0;
      if (!connection.sendBuffer.hasRoom(bytes)) await connection.sendBuffer.room(bytes);
      if (answer.is === 'result') connection.reply({ id, is: 'rpc', result: answer.result });
      else replyWithAppError(connection, id, answer);
    });
  };
