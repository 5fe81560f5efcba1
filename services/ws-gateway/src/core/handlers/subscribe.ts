import { ReplyError } from '@muster/protocol/codes';
import type { SubscribeCommand } from '@muster/protocol/commands';
import { type GroupName, parseGroupName } from '@muster/protocol/ids';
import { MAX_GROUP_NAME_LENGTH } from '@muster/protocol/limits';
import type { ClientInfo } from '@muster/protocol/replies';
import { parseTagsFilter, type TagsFilter } from '@muster/protocol/tags-filter';
import type { Connection, Membership } from '../connection.ts';
import { type Hub, whoJoins } from '../hub.ts';
import type { GroupOptions, Namespaces } from '../namespaces.ts';
import { isAllowed } from '../permissions.ts';
import type { EngineMetrics, Identity } from '../ports.ts';
import { countRecovery, subscribeResult } from '../subscribe-result.ts';
import type { Service } from '../subscription.ts';

export interface SubscribeDeps {
  readonly hub: Hub;
  readonly namespaces: Namespaces;
  readonly metrics: EngineMetrics;
  readonly maxSubscriptions: number;
}

/** A subscribe command that has passed all checks. */
interface Granted {
  readonly group: GroupName;
  readonly options: GroupOptions;
  readonly isPositioned: boolean;
  readonly isRecoverable: boolean;
  readonly hearsJoinLeave: boolean;
  readonly filter: TagsFilter | undefined;
  readonly deltas: 'all' | 'marked' | undefined;
  /** The client knows the group by its number. */
  readonly isCompact: boolean;
}

const JOINING: Membership = { is: 'joining', isServerSide: false };
/** Flag of a client that knows groups by numbers. */
const COMPACTION = 1;
/** Flag of a client that wants an error rather than a subscription without what it missed. */
const REFUSE_UNRECOVERED = 2;

/** `subscribe`: the checks in the order of PROTOCOL.md §4.1, then the bus and what was missed, then the reply, then live. */
export const createSubscribe =
  (deps: SubscribeDeps) =>
  (connection: Connection, command: SubscribeCommand): Promise<void> | undefined => {
    const { phase } = connection;
    if (phase.is !== 'live') return undefined;
    if (command.channel === '') return void connection.refuse('no_group');
    if (command.delta !== '' && command.delta !== 'fossil') return void connection.refuse('unknown_delta');
    const granted = check(deps, connection, command, phase.identity);
    if (typeof granted === 'number') return void connection.fail(command.id, granted);
    connection.memberships.set(granted.group, JOINING);
    return join(deps, connection, command, { ...granted, info: phase.info });
  };

const check = (
  deps: SubscribeDeps,
  connection: Connection,
  command: SubscribeCommand,
  identity: Identity,
): Granted | ReplyError => {
  const group = checkName(deps, connection, command);
  if (typeof group === 'number') return group;
  const options = deps.namespaces.optionsOf(group);
  if (options === undefined) return ReplyError.UnknownGroup;
  if (options.nameRegex?.test(group) === false) return ReplyError.BadRequest;
  const wish = { identity, group, options };
  if (!isAllowed({ ...wish, action: 'subscribe', isSubscribed: false })) return ReplyError.PermissionDenied;
  const filter = command.filter === undefined ? undefined : parseTagsFilter(command.filter);
  const hasBadFilter = command.filter !== undefined && (filter === undefined || !options.allowTagsFilter);
  if (hasBadFilter) return ReplyError.BadRequest;
  const isFull = options.maxMembers > 0 && (deps.hub.groupNamed(group)?.holds ?? 0) >= options.maxMembers;
  if (isFull) return ReplyError.LimitExceeded;
  const mayLook = isAllowed({ ...wish, action: 'presence', isSubscribed: true });
  const hearsJoinLeave = options.forcePushJoinLeave || (command.joinLeave && mayLook);
  const positions = wishes(command, identity, group, options);
  const deltas = filter === undefined ? deltasOf(command, options) : undefined;
  const isCompact = mayCompact(connection, command, options);
  return { group, options, hearsJoinLeave, filter, deltas, isCompact, ...positions };
};

/** Whether the client knows the group by its number. */
const mayCompact = (
  { codec }: Connection,
  { flag }: SubscribeCommand,
  { channelCompaction }: GroupOptions,
): boolean =>
  (flag & COMPACTION) !== 0 && (channelCompaction === 'all' || channelCompaction === codec.encoding);

/** A filter leaves publications out, and a delta against one that was left out is of no use: then payloads are whole. */
const deltasOf = (
  { delta }: SubscribeCommand,
  { allowedDeltaTypes, deltaPublish }: GroupOptions,
): Granted['deltas'] => {
  if (delta !== 'fossil' || !allowedDeltaTypes.includes(delta)) return undefined;
  return deltaPublish ? 'all' : 'marked';
};

/** What can be said without knowing the group. */
const checkName = (
  { maxSubscriptions }: SubscribeDeps,
  { memberships }: Connection,
  command: SubscribeCommand,
): GroupName | ReplyError => {
  if (command.type !== 0) return ReplyError.BadRequest;
  if (command.channel.length > MAX_GROUP_NAME_LENGTH) return ReplyError.BadRequest;
  if (memberships.has(command.channel)) return ReplyError.AlreadySubscribed;
  if (memberships.size >= maxSubscriptions) return ReplyError.LimitExceeded;
  return parseGroupName(command.channel) ?? ReplyError.BadRequest;
};

/** What the client may rely on: what the group forces, and what it asks for and may have. Never an error. */
const wishes = (
  command: SubscribeCommand,
  identity: Identity,
  group: GroupName,
  options: GroupOptions,
): Pick<Granted, 'isPositioned' | 'isRecoverable'> => {
  if (options.retention === undefined) return { isPositioned: false, isRecoverable: false };
  const mayRead = isAllowed({ action: 'history', identity, group, options, isSubscribed: true });
  const isRecoverable = options.forceRecovery || (command.recoverable && options.allowRecovery && mayRead);
  const asksPosition = command.positioned && options.allowPositioning && mayRead;
  return { isRecoverable, isPositioned: isRecoverable || options.forcePositioning || asksPosition };
};

const join = async (
  deps: SubscribeDeps,
  connection: Connection,
  command: SubscribeCommand,
  { info, ...granted }: Granted & { readonly info: ClientInfo },
): Promise<void> => {
  const { group, options, isRecoverable } = granted;
  const service = serviceOf(connection, granted);
  const who = whoJoins(options, connection.id, info);
  const recover = command.recover && isRecoverable ? { recover: command } : {};
  try {
    await deps.hub.join({
      name: group,
      member: connection,
      retention: options.retention,
      service,
      ...(who === undefined ? {} : { who }),
      recoveryMode: options.recoveryMode,
      ...recover,
      onJoined: (subscription, start) => {
        if (connection.isOver) return false;
        countRecovery(deps.metrics, start);
        if (start?.recovery?.ok === false && (command.flag & REFUSE_UNRECOVERED) !== 0) {
          connection.memberships.delete(group);
          connection.fail(command.id, ReplyError.UnrecoverablePosition);
          return false;
        }
        connection.memberships.set(group, { is: 'live', subscription, isServerSide: false });
        const groupId = subscription.group.id;
        const result = subscribeResult({ service, isRecoverable, groupId, start, asked: command });
        connection.reply({ id: command.id, is: 'subscribe', result });
        return true;
      },
    });
  } catch (error) {
    connection.memberships.delete(group);
    throw error;
  }
};

const serviceOf = ({ codec }: Connection, granted: Granted): Service => ({
  encoding: codec.encoding,
  isCompact: granted.isCompact,
  isPositioned: granted.isPositioned,
  hearsJoinLeave: granted.hearsJoinLeave,
  deltas: granted.deltas,
  filter: granted.filter,
  mayLag: granted.options.slowPolicy === 'lag',
});
