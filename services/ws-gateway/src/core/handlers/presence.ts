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

/** `presence` and `presence_stats`: who is in a group, or how many. */
export const createPresence =
  (deps: PresenceDeps) =>
  (connection: Connection, command: PresenceCommand): Promise<void> | undefined => {
    const asked = authorizeGroupRead(deps, connection, command, 'presence');
    if (asked === undefined) return undefined;
    if (!asked.options.presence)
      return void connection.fail(command.id, ReplyError.NotAvailable, 'presence is off in this group');
    if (!asked.isAllowed) return void connection.fail(command.id, ReplyError.PermissionDenied);
    const { key } = asked;
    if (command.is === 'presence_stats') return answer(deps, connection, command, key);
    connection.pendingReplies += 1;
    return connection.sendBuffer
      .inTurn(() => answer(deps, connection, command, key))
      .finally(() => {
        connection.pendingReplies -= 1;
      });
  };

const answer = async (
  deps: PresenceDeps,
  connection: Connection,
  { id, is }: PresenceCommand,
  key: GroupKey,
): Promise<void> => {
  const { limits, metrics } = deps;
  const clients = await deps.presence.read(key, limits.maxPresenceClients);
  if (!isStillAllowed(deps, connection, key, 'presence'))
    return connection.fail(id, ReplyError.PermissionDenied);
  // An answer must fit into what may wait for a client.
  if (clients === undefined || (is === 'presence' && sizeOf(clients) > limits.maxSendBufferBytes / 2)) {
    metrics.rateLimited('presence', connection.identity);
    return connection.fail(
      id,
      ReplyError.LimitExceeded,
      'the group has more clients than one answer may hold (MAX_PRESENCE_CLIENTS, MAX_SEND_BUFFER_BYTES)',
    );
  }
  if (is === 'presence_stats') return connection.reply({ id, is, result: presenceStats(clients) });
  const bytes = sizeOf(clients);
  if (!connection.sendBuffer.hasRoom(bytes)) await connection.sendBuffer.room(bytes);
  if (!isStillAllowed(deps, connection, key, 'presence'))
    return connection.fail(id, ReplyError.PermissionDenied);
  connection.reply({ id, is, result: clients });
};

const sizeOf = (clients: ReadonlyMap<string, string>): number => {
  let size = 0;
  for (const [client, info] of clients) size += client.length + Buffer.byteLength(info);
  return size;
};

/** Clients, and users among them. The empty user id counts as one. */
export const presenceStats = (clients: ReadonlyMap<string, string>): PresenceStatsResult => {
  const users = new Set<unknown>();
  for (const info of clients.values()) users.add((JSON.parse(info) as { user?: unknown }).user);
  return { clients: clients.size, users: users.size };
};
