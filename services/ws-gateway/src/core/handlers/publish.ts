import { ReplyError } from '@muster/protocol/codes';
import type { Payload, PublishCommand } from '@muster/protocol/commands';
import { type GroupName, parseGroupName } from '@muster/protocol/ids';
import type { ClientInfo } from '@muster/protocol/replies';
import type { Connection } from '../connection.ts';
import type { GroupRates } from '../group-rates.ts';
import type { Hub } from '../hub.ts';
import type { GroupOptions, Namespaces } from '../namespaces.ts';
import { isAllowed } from '../permissions.ts';
import type { EngineMetrics } from '../ports.ts';

export interface PublishDeps {
  readonly hub: Hub;
  readonly namespaces: Namespaces;
  readonly rates: GroupRates;
  readonly metrics: Pick<EngineMetrics, 'rateLimited'>;
}

/** A publish command that has passed all checks of ours. */
interface Draft {
  readonly name: GroupName;
  readonly options: GroupOptions;
  readonly data: Payload;
  readonly info: ClientInfo;
}

/** `publish`: answered when the bus has taken it. The publisher hears itself, before or after the answer. */
export const createPublish =
  (deps: PublishDeps) =>
  (connection: Connection, command: PublishCommand): Promise<void> | undefined => {
    if (command.channel === '') return void connection.refuse('no_group');
    const draft = check(deps, connection, command);
    if (draft === undefined) return undefined;
    if (typeof draft === 'number') return void connection.fail(command.id, draft);
    const { name, options, data, info } = draft;
    connection.publishing += 1;
    return deps.hub
      .publish({
        name,
        publication: { data, info, isBinary: command.isBinary ?? false },
        retention: options.retention,
      })
      .then(() => connection.reply({ id: command.id, is: 'publish' }))
      .finally(() => {
        connection.publishing -= 1;
      });
  };

const check = (
  deps: PublishDeps,
  { phase, memberships }: Connection,
  command: PublishCommand,
): Draft | ReplyError | undefined => {
  if (phase.is !== 'live') return undefined;
  const { data } = command;
  const name = parseGroupName(command.channel);
  if (name === undefined || command.type !== 0) return ReplyError.BadRequest;
  const options = deps.namespaces.optionsOf(name);
  if (options === undefined) return ReplyError.UnknownGroup;
  if (data === undefined) return ReplyError.BadRequest;
  const { identity, info } = phase;
  const isSubscribed = memberships.get(name)?.is === 'live';
  const wish = { action: 'publish', identity, group: name, options, isSubscribed } as const;
  if (!isAllowed(wish)) return ReplyError.PermissionDenied;
  return overRate(deps, name, options) ?? { name, options, data, info };
};

/** The error when the group has had its share of publications for now. */
const overRate = (
  { rates, metrics }: PublishDeps,
  name: GroupName,
  { publishRate }: GroupOptions,
): ReplyError | undefined => {
  if (rates.take(name, publishRate)) return undefined;
  metrics.rateLimited('group');
  return ReplyError.TooManyRequests;
};
