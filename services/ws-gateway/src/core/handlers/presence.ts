import type { GroupKey } from '@muster/bus/group-key';
import type { Presence } from '@muster/bus/presence';
import { ReplyError } from '@muster/protocol/codes';
import type { PresenceCommand } from '@muster/protocol/commands';
import type { PresenceStatsResult } from '@muster/protocol/replies';
import type { Connection } from '../connection/connection.ts';
import type { ConnectionLimits, EngineMetrics } from '../ports.ts';
import { authorizeGroupRead, type GroupReadDeps, isStillAllowed } from './group-read.ts';

export interface PresenceDeps extends GroupReadDeps {
  readonly presence: Pick<Presence, 'read'>;
  readonly limits: Pick<ConnectionLimits, 'maxPresenceClients' | 'maxSendBufferBytes'>;
  readonly metrics: Pick<EngineMetrics, 'rateLimited'>;
}

/** `presence` and `presence_stats`: the members of a group, or their number. */
export const createPresence =
  (deps: PresenceDeps) =>
  (connection: Connection, command: PresenceCommand): Promise<void> | undefined => {
    const authorized = authorizeGroupRead(deps, connection, command, 'presence');
    if (authorized === undefined) return undefined;
    if (!authorized.options.presence)
      return void connection.fail(command.id, ReplyError.NotAvailable, 'presence is off in this group');
    if (!authorized.isAllowed) return void connection.fail(command.id, ReplyError.PermissionDenied);
    const { key } = authorized;
    if (command.is === 'presence_stats') return readAndReply(deps, connection, command, key);
    return connection.untilReplied(() =>
      connection.sendBuffer.inTurn(() => readAndReply(deps, connection, command, key)),
    );
  };

const readAndReply = async (
  deps: PresenceDeps,
  connection: Connection,
  { id, is }: PresenceCommand,
  key: GroupKey,
): Promise<void> => {
  const { limits, metrics } = deps;
  const clients = await deps.presence.read(key, limits.maxPresenceClients);
  if (!isStillAllowed(deps, connection, key, 'presence')) return connection.fail(id, ReplyError.PermissionDenied);
  // A reply must fit into the send buffer.
  if (clients === undefined || (is === 'presence' && sizeOf(clients) > limits.maxSendBufferBytes / 2)) {
    metrics.rateLimited('presence', connection.identity);
    return connection.fail(
      id,
      ReplyError.LimitExceeded,
      'the group has more clients than fit into one reply (MAX_PRESENCE_CLIENTS, MAX_SEND_BUFFER_BYTES)',
    );
  }
  if (is === 'presence_stats') return connection.reply({ id, is, result: presenceStats(clients) });
  const bytes = sizeOf(clients);
  if (!connection.sendBuffer.hasRoom(bytes)) await connection.sendBuffer.room(bytes);
  if (!isStillAllowed(deps, connection, key, 'presence')) return connection.fail(id, ReplyError.PermissionDenied);
  connection.reply({ id, is, result: clients });
};

const sizeOf = (clients: ReadonlyMap<string, string>): number => {
  let size = 0;
  for (const [client, info] of clients) size += client.length + Buffer.byteLength(info);
  return size;
};

/** Number of clients and of distinct users; all anonymous clients count as one user. */
export const presenceStats = (clients: ReadonlyMap<string, string>): PresenceStatsResult => {
  const users = new Set<unknown>();
  for (const info of clients.values()) users.add((JSON.parse(info) as { user?: unknown }).user);
  return { clients: clients.size, users: users.size };
};
