import { type GroupKey, groupKeyOf } from '@muster/bus/group-key';
import { ReplyError } from '@muster/protocol/codes';
import type { Payload, PublishCommand } from '@muster/protocol/commands';
import { type GroupName, groupNameFault, parseGroupName } from '@muster/protocol/ids';
import type { ClientInfo } from '@muster/protocol/replies';
import { type AppCallbacks, replyWithAppError } from '../callbacks.ts';
import type { Connection } from '../connection/connection.ts';
import type { GroupRates } from '../connection/rate-limit.ts';
import type { Hub } from '../group/hub.ts';
import type { PublishRequest } from '../group/publisher.ts';
import { acceptsPayload, type GroupOptions } from '../namespaces.ts';
import { isAllowed, mayReach, type PermissionRequest } from '../permissions.ts';
import type { ClientIdentity, EngineMetrics } from '../ports.ts';
import { CommandError, NEW_GROUPS, NO_NAMESPACE, onlyType0 } from './command-error.ts';
import { type GroupReadDeps, isStillAllowed } from './group-read.ts';

export interface PublishDeps extends GroupReadDeps {
  readonly hub: Pick<Hub, 'publish'>;
  readonly callbacks: Pick<AppCallbacks, 'publish'>;
  readonly rates: GroupRates;
  readonly metrics: Pick<EngineMetrics, 'rateLimited'>;
}

/** A publish command that has passed all checks. */
interface CheckedPublish {
  readonly id: number;
  readonly name: GroupName;
  readonly key: GroupKey;
  readonly options: GroupOptions;
  readonly data: Payload;
  readonly isBinary: boolean;
  readonly identity: ClientIdentity;
  readonly info: ClientInfo;
}

/** `publish`: answered when the bus has accepted it. The publisher receives its own publication, before or after the reply. */
export const createPublish =
  (deps: PublishDeps) =>
  (connection: Connection, command: PublishCommand): Promise<void> | undefined => {
    if (command.channel === '') return void connection.rejectInput('no_group');
    const checked = check(deps, connection, command);
    if (checked === undefined) return undefined;
    if (checked instanceof CommandError) return void connection.fail(command.id, checked.code, checked.reason);
    const bytes = checked.data.length;
    connection.pendingReplies += 1;
    connection.publishedBytes += bytes;
    const work = checked.options.publishCallback
      ? publishAfterCallback(deps, connection, checked)
      : publish(deps, connection, checked);
    const settle = (): void => {
      connection.pendingReplies -= 1;
      connection.publishedBytes -= bytes;
    };
    return work.then(settle, (error: unknown) => {
      settle();
      throw error;
    });
  };

const check = (
  deps: PublishDeps,
  connection: Connection,
  command: PublishCommand,
): CheckedPublish | CommandError | undefined => {
  const { phase, memberships } = connection;
  if (phase.is !== 'live') return undefined;
  const { id, data, isBinary = false } = command;
  const name = parseGroupName(command.channel);
  if (name === undefined) return bad(`\`channel\` ${groupNameFault(command.channel)}`);
  if (command.type !== 0) return bad(onlyType0(command.type));
  const options = deps.namespaces.optionsOf(name);
  if (options === undefined) return new CommandError(ReplyError.UnknownGroup, NO_NAMESPACE);
  if (data === undefined) return bad('`data` is missing');
  if (!acceptsPayload(options, data, isBinary))
    return bad(`\`data\` must be of the format ${options.publicationDataFormat} in this group`);
  const { identity, info } = phase;
  const membership = memberships.get(name);
  const isSubscribed = membership?.is === 'live';
  if (!mayPublish({ action: 'publish', identity, group: name, options, isSubscribed }))
    return new CommandError(ReplyError.PermissionDenied);
  if (connection.quota?.takeBytes(Buffer.byteLength(data)) === false) {
    deps.metrics.rateLimited('published_bytes', identity);
    return new CommandError(
      ReplyError.TooManyRequests,
      'this session has reached its limit of published bytes (MAX_PUBLISHED_BYTES_PER_S): try again later',
    );
  }
  const key = isSubscribed ? membership.subscription.group.key : groupKeyOf(identity.tenant, name);
  if (deps.rates.take(key, options.publishRate)) return { id, name, key, options, data, isBinary, identity, info };
  deps.metrics.rateLimited('group', identity);
  return new CommandError(ReplyError.TooManyRequests, 'the group has reached its `publish_rate`: try again later');
};

const bad = (reason: string): CommandError => new CommandError(ReplyError.BadRequest, reason);

/** With a callback, the application decides in place of the options. */
const mayPublish = (request: PermissionRequest): boolean =>
  request.options.publishCallback ? mayReach(request) : isAllowed(request);

/**
 * A group without a stream and without a subscriber on any gateway retains nothing, so that a client cannot fill Redis with names.
 */
const publish = (deps: PublishDeps, connection: Connection, checked: CheckedPublish): Promise<void> => {
  const { id, key, options, data, isBinary, info } = checked;
  const { retention } = options;
  const request = { key, publication: { data, info, isBinary }, retention, onlyIfSubscribed: true } as const;
  return deps.hub.publish(request).then((appended) => {
    if (appended?.outcome === 'no_subscribers' && options.keepWithoutSubscribers)
      return publishToNewGroup(deps, connection, checked, request);
    return connection.reply({ id, is: 'publish' });
  });
};

/** With `keep_without_subscribers` a new stream counts against the client's quota of new groups. */
const publishToNewGroup = async (
  { hub, metrics }: PublishDeps,
  connection: Connection,
  { id, identity }: CheckedPublish,
  request: PublishRequest,
): Promise<void> => {
  if (connection.quota?.takeNewGroup() === false) {
    metrics.rateLimited('new_groups', identity);
    return connection.fail(id, ReplyError.TooManyRequests, NEW_GROUPS);
  }
  await hub.publish({ ...request, onlyIfSubscribed: false });
  connection.reply({ id, is: 'publish' });
};

/** Callbacks of several commands run concurrently; the permitted publications are published in order of the commands. */
const publishAfterCallback = async (
  deps: PublishDeps,
  connection: Connection,
  checked: CheckedPublish,
): Promise<void> => {
  const { id, name, data, isBinary, identity } = checked;
  const caller = { client: connection.id, identity, encoding: connection.codec.encoding };
  const callback = deps.callbacks.publish(caller, { group: name, data, isBinary });
  const before = connection.publishTail;
  const own = Promise.withResolvers<void>();
  connection.publishTail = own.promise;
  try {
    const answer = await callback;
    await before;
    if (connection.isClosed) return;
    if (!isStillAllowed(deps, connection, checked.key, 'publish', mayPublish))
      return connection.fail(id, ReplyError.PermissionDenied);
    if (answer.is !== 'result') return replyWithAppError(connection, id, answer);
    const { skipHistory, ...changed } = answer.result;
    const options = skipHistory ? { ...checked.options, retention: undefined } : checked.options;
    await publish(deps, connection, { ...checked, options, ...changed });
  } finally {
    own.resolve();
  }
};
