import type { Bus } from '@muster/bus/bus';
import type { Retention } from '@muster/bus/streams';
import { ReplyError } from '@muster/protocol/codes';
import type { HistoryCommand } from '@muster/protocol/commands';
import type { GroupName } from '@muster/protocol/ids';
import { MAX_RECOVERED_PUBLICATIONS } from '@muster/protocol/limits';
import type { HistoryResult } from '@muster/protocol/replies';
import type { Connection } from '../connection.ts';
import type { Hub } from '../hub.ts';
import type { EngineMetrics } from '../ports.ts';
import { askGroup, type GroupQuestionDeps, isStillAllowed } from './group-question.ts';

export interface HistoryDeps extends GroupQuestionDeps {
  readonly bus: Pick<Bus, 'read'>;
  readonly hub: Pick<Hub, 'groupNamed'>;
  readonly metrics: Pick<EngineMetrics, 'rateLimited'>;
}

/** `history`: what the stream holds, and where it ends. */
export const createHistory =
  (deps: HistoryDeps) =>
  (connection: Connection, command: HistoryCommand): Promise<void> | undefined => {
    const asked = askGroup(deps, connection, command, 'history');
    if (asked === undefined) return undefined;
    const { group, options } = asked;
    if (options.retention === undefined) return void connection.fail(command.id, ReplyError.NotAvailable);
    if (!asked.isAllowed) return void connection.fail(command.id, ReplyError.PermissionDenied);
    if (command.reverse && command.since?.offset === 0)
      return void connection.fail(command.id, ReplyError.BadRequest);
    // Reading begins a stream where there is none.
    const isKnown = connection.memberships.has(group) || deps.hub.groupNamed(group) !== undefined;
    if (!isKnown && connection.quota?.takeNewGroup() === false) {
      deps.metrics.rateLimited('new_groups', connection.identity);
      return void connection.fail(command.id, ReplyError.TooManyRequests);
    }
    return answer(deps, connection, command, { group, retention: options.retention });
  };

const answer = async (
  deps: HistoryDeps,
  connection: Connection,
  command: HistoryCommand,
  place: { group: GroupName; retention: Retention },
): Promise<void> => {
  const result = await readHistory(deps.bus, place, command);
  if (!isStillAllowed(deps, connection, place.group, 'history'))
    return connection.fail(command.id, ReplyError.PermissionDenied);
  if (typeof result === 'number') connection.fail(command.id, result);
  else connection.reply({ id: command.id, is: 'history', result });
};

/** Reads as much of a stream as was asked for, at most `max` publications; 112 when the epoch is another. */
export const readHistory = async (
  bus: Pick<Bus, 'read'>,
  { group, retention }: { readonly group: GroupName; readonly retention: Retention },
  { limit, since, reverse }: Pick<HistoryCommand, 'limit' | 'since' | 'reverse'>,
  max = MAX_RECOVERED_PUBLICATIONS,
): Promise<HistoryResult | typeof ReplyError.UnrecoverablePosition> => {
  const count = limit < 0 ? max : Math.min(limit, max);
  const from = since === undefined ? {} : { from: since.offset };
  const { top, entries } = await bus.read(group, { ...from, limit: count, reverse, retention });
  if (since !== undefined && since.epoch !== '' && since.epoch !== top.epoch)
    return ReplyError.UnrecoverablePosition;
  return { publications: entries.map(({ text }) => text), epoch: top.epoch, offset: top.offset };
};
