import type { Bus } from '@muster/bus/bus';
import type { GroupKey } from '@muster/bus/group-key';
import type { StreamRetention } from '@muster/bus/streams';
import { ReplyError } from '@muster/protocol/codes';
import type { HistoryCommand } from '@muster/protocol/commands';
import { MAX_RECOVERED_PUBLICATIONS } from '@muster/protocol/limits';
import type { HistoryResult } from '@muster/protocol/replies';
import type { Connection } from '../connection/connection.ts';
import type { Hub } from '../group/hub.ts';
import { bytesOfTexts } from '../group/stream-read-limit.ts';
import type { EngineMetrics } from '../ports.ts';
import { createTurnBudget, type TurnBudget } from '../time-slicing.ts';
import { NEW_GROUPS } from './command-error.ts';
import { authorizeGroupRead, type GroupReadDeps, isStillAllowed } from './group-read.ts';

export interface HistoryDeps extends GroupReadDeps {
  readonly bus: Pick<Bus, 'read'>;
  readonly hub: Pick<Hub, 'groupOf'>;
  readonly metrics: Pick<EngineMetrics, 'rateLimited'>;
  /** Bytes of publications in one reply; above it the reply is cut, and the client continues from its end. */
  readonly maxBytes: number;
}

/** Bytes of replies encoded in one turn of the event loop: hundreds of clients may wait for the same read. */
const BYTES_PER_TURN = 2_097_152;

/** `history`: publications of the stream, and its end. */
export const createHistory = (given: HistoryDeps) => {
  const deps = { ...given, turns: createTurnBudget(BYTES_PER_TURN) };
  return (connection: Connection, command: HistoryCommand): Promise<void> | undefined => {
    const authorized = authorizeGroupRead(deps, connection, command, 'history');
    if (authorized === undefined) return undefined;
    const { key, options } = authorized;
    if (options.retention === undefined)
      return void connection.fail(command.id, ReplyError.NotAvailable, 'this group keeps no history');
    if (!authorized.isAllowed) return void connection.fail(command.id, ReplyError.PermissionDenied);
    if (command.reverse && command.since?.offset === 0)
      return void connection.fail(
        command.id,
        ReplyError.BadRequest,
        '`since` must have an offset above 0 when `reverse` is true',
      );
    // A read creates the stream of an unknown group.
    const isKnown = connection.memberships.has(command.channel) || deps.hub.groupOf(key) !== undefined;
    if (!isKnown && connection.quota?.takeNewGroup() === false) {
      deps.metrics.rateLimited('new_groups', connection.identity);
      return void connection.fail(command.id, ReplyError.TooManyRequests, NEW_GROUPS);
    }
    const stream = { key, retention: options.retention };
    if (command.limit === 0) return readAndReply(deps, connection, command, stream);
    return connection.untilReplied(() =>
      connection.sendBuffer.inTurn(() => readAndReply(deps, connection, command, stream)),
    );
  };
};

const readAndReply = async (
  deps: HistoryDeps & { readonly turns: TurnBudget },
  connection: Connection,
  command: HistoryCommand,
  stream: { key: GroupKey; retention: StreamRetention },
): Promise<void> => {
  const bounds = { count: MAX_RECOVERED_PUBLICATIONS, maxBytes: deps.maxBytes };
  const read = () => readHistory(deps.bus, stream, command, bounds);
  const result = await (connection.quota?.reads.run(connection, read, sizeOf) ?? read());
  if (result === undefined) return;
  const bytes = sizeOf(result);
  await deps.turns.take(bytes);
  if (!connection.sendBuffer.hasRoom(bytes)) await connection.sendBuffer.room(bytes);
  if (!isStillAllowed(deps, connection, stream.key, 'history'))
    return connection.fail(command.id, ReplyError.PermissionDenied);
  if (typeof result === 'number') connection.fail(command.id, result);
  else connection.reply({ id: command.id, is: 'history', result });
};

const sizeOf = (result: Awaited<ReturnType<typeof readHistory>>): number =>
  typeof result === 'number' ? 0 : bytesOfTexts(result.publications);

/** Reads the requested part of a stream within the limits of a reply; error code 112 for another epoch. */
export const readHistory = async (
  bus: Pick<Bus, 'read'>,
  { key, retention }: { readonly key: GroupKey; readonly retention: StreamRetention },
  { limit, since, reverse }: Pick<HistoryCommand, 'limit' | 'since' | 'reverse'>,
  { count: max, maxBytes }: { readonly count: number; readonly maxBytes: number },
): Promise<HistoryResult | typeof ReplyError.UnrecoverablePosition> => {
  const count = limit < 0 ? max : Math.min(limit, max);
  const from = since === undefined ? {} : { from: since.offset };
  const { top, entries } = await bus.read(key, { ...from, limit: count, reverse, maxBytes, retention });
  if (since !== undefined && since.epoch !== '' && since.epoch !== top.epoch) return ReplyError.UnrecoverablePosition;
  return { publications: entries.map(({ text }) => text), epoch: top.epoch, offset: top.offset };
};
