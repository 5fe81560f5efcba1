import { type GroupKey, groupKeyOf } from '@muster/bus/group-key';
import { ReplyError } from '@muster/protocol/codes';
import type { SubscribeCommand } from '@muster/protocol/commands';
import { type GroupName, groupNameFault, parseGroupName } from '@muster/protocol/ids';
import { MAX_GROUP_NAME_LENGTH } from '@muster/protocol/limits';
import type { ClientInfo } from '@muster/protocol/replies';
import { parseTagsFilter } from '@muster/protocol/tags-filter';
import { replyWithAppError } from '../callbacks.ts';
import type { Connection, ConnectionSubscription } from '../connection/connection.ts';
import { type Hub, presenceInfoOf } from '../group/hub.ts';
import { countRecovery, expiryOf, subscribeResult } from '../group/subscribe-result.ts';
import type { DeliveryOptions } from '../group/subscription.ts';
import type { GroupOptions, Namespaces } from '../namespaces.ts';
import type { PermissionReview } from '../permission-review.ts';
import { isAllowed, type SubscribePermissionBasis } from '../permissions.ts';
import type { ClientIdentity, EngineMetrics, ServerSubscription } from '../ports.ts';
import { CommandError, NEW_GROUPS, NO_NAMESPACE, onlyType0 } from './command-error.ts';
import {
  createSubscribePermissions,
  type SubscribePermission,
  type SubscribePermissionsDeps,
} from './subscribe-permissions.ts';

export interface SubscribeDeps extends SubscribePermissionsDeps {
  readonly hub: Hub;
  readonly namespaces: Namespaces;
  readonly metrics: EngineMetrics;
  readonly maxSubscriptions: number;
  readonly review: Pick<PermissionReview, 'isStillGranted'>;
}

/** A configured group that the client is not subscribed to. */
interface GroupCandidate {
  readonly group: GroupName;
  readonly options: GroupOptions;
}

/** A subscribe command that has passed all checks. */
interface Granted extends GroupCandidate {
  readonly key: GroupKey;
  readonly terms: ServerSubscription;
  readonly basis: SubscribePermissionBasis;
  readonly isRecoverable: boolean;
  readonly delivery: DeliveryOptions;
}

const JOINING: ConnectionSubscription = { is: 'joining', isServerSide: false };
/** An optional kind of subscription of the protocol. */
const SHARED_POLL = 4;
/** Flag of a client with channel compaction. */
const COMPACTION = 1;
/** Flag of a client that requests an error in place of a subscription without recovery. */
const REFUSE_UNRECOVERED = 2;

/** `subscribe`: the checks in the order of PROTOCOL.md §4.1, the bus, the recovery, the reply, then live delivery. */
export const createSubscribe = (deps: SubscribeDeps) => {
  const permissionOf = createSubscribePermissions(deps);
  return (connection: Connection, command: SubscribeCommand): Promise<void> | undefined => {
    const { phase } = connection;
    if (phase.is !== 'live') return undefined;
    if (command.channel === '') return void connection.rejectInput('no_group');
    if (hasUnknownDelta(command)) return void connection.rejectInput('unknown_delta');
    const candidate = candidateOf(deps, connection, command);
    if (candidate instanceof CommandError) return void connection.fail(command.id, candidate.code, candidate.reason);
    const caller = { client: connection.id, identity: phase.identity, encoding: connection.codec.encoding };
    const permission = permissionOf({ caller, ...candidate, command });
    if (!(permission instanceof Promise)) return enter(deps, connection, command, candidate, permission);
    // Commands for this group wait meanwhile.
    connection.memberships.set(candidate.group, JOINING);
    return permission.then((decided) => {
      if (connection.isClosed) return undefined;
      connection.memberships.delete(candidate.group);
      return enter(deps, connection, command, candidate, decided);
    });
  };
};

const candidateOf = (
  { maxSubscriptions, namespaces }: SubscribeDeps,
  { memberships }: Connection,
  { type, channel }: SubscribeCommand,
): GroupCandidate | CommandError => {
  if (type === SHARED_POLL) return new CommandError(ReplyError.NotAvailable, onlyType0(type));
  if (type !== 0) return new CommandError(ReplyError.PermissionDenied, onlyType0(type));
  if (channel.length > MAX_GROUP_NAME_LENGTH) return badName(channel);
  if (memberships.has(channel)) return new CommandError(ReplyError.AlreadySubscribed);
  if (memberships.size >= maxSubscriptions)
    return new CommandError(
      ReplyError.LimitExceeded,
      `a connection may be in ${maxSubscriptions} groups (MAX_SUBSCRIPTIONS): unsubscribe from another first`,
    );
  const group = parseGroupName(channel);
  if (group === undefined) return badName(channel);
  const options = namespaces.optionsOf(group);
  if (options === undefined) return new CommandError(ReplyError.UnknownGroup, NO_NAMESPACE);
  if (options.nameRegex?.test(group) === false)
    return new CommandError(ReplyError.BadRequest, '`channel` does not match the `channel_regex` of its namespace');
  return { group, options };
};

const enter = (
  deps: SubscribeDeps,
  connection: Connection,
  command: SubscribeCommand,
  candidate: GroupCandidate,
  permission: SubscribePermission,
): Promise<void> | undefined => {
  if (connection.phase.is !== 'live') return undefined;
  if (permission.is !== 'granted') return void reject(connection, command.id, permission);
  const { identity, info } = connection.phase;
  const { terms, basis } = permission;
  const options = terms.override === undefined ? candidate.options : { ...candidate.options, ...terms.override };
  const granted = check(deps, connection, command, { group: candidate.group, options, identity, terms, basis });
  if (granted instanceof CommandError) return void connection.fail(command.id, granted.code, granted.reason);
  connection.memberships.set(granted.group, JOINING);
  const { info: chanInfo } = terms;
  return join(deps, connection, command, { ...granted, info: chanInfo === undefined ? info : { ...info, chanInfo } });
};

const reject = (
  connection: Connection,
  id: number,
  permission: Exclude<SubscribePermission, { is: 'granted' }>,
): void => {
  if (permission.is === 'rejected') connection.fail(id, permission.code);
  else if (permission.is === 'closed') connection.close(permission.code);
  else replyWithAppError(connection, id, permission);
};

const check = (
  deps: SubscribeDeps,
  connection: Connection,
  command: SubscribeCommand,
  candidate: GroupCandidate & Pick<Granted, 'terms' | 'basis'> & { readonly identity: ClientIdentity },
): Granted | CommandError => {
  const { identity, group, options, terms, basis } = candidate;
  const request = { identity, group, options };
  const key = groupKeyOf(identity.tenant, group);
  const filter = command.filter === undefined ? undefined : parseTagsFilter(command.filter);
  if (typeof filter === 'string') return new CommandError(ReplyError.BadRequest, `\`tf\` ${filter}`);
  if (filter !== undefined && !options.allowTagsFilter)
    return new CommandError(
      ReplyError.BadRequest,
      '`tf` is not available in this group: `allow_tags_filter` is off in its namespace',
    );
  const isFull = options.maxMembers > 0 && (deps.hub.groupOf(key)?.holds ?? 0) >= options.maxMembers;
  if (isFull)
    return new CommandError(
      ReplyError.LimitExceeded,
      `the group has ${options.maxMembers} members on this gateway (\`max_members\`)`,
    );
  const overQuota = checkQuota(deps, connection, candidate);
  if (overQuota !== undefined) return overQuota;
  const maySeePresence = isAllowed({ ...request, action: 'presence', isSubscribed: true });
  const { isPositioned, isRecoverable } = positionsOf(command, identity, group, options);
  const delivery: DeliveryOptions = {
    encoding: connection.codec.encoding,
    isCompact: mayCompact(connection, command, options),
    isPositioned,
    receivesJoinLeave: options.forcePushJoinLeave || (command.joinLeave && maySeePresence),
    deltas: filter === undefined ? deltasOf(command, options) : undefined,
    filter,
    mayLag: options.slowPolicy === 'lag',
  };
  return { group, key, options, terms, basis, isRecoverable, delivery };
};

/** Checks the quota of the client over all its connections. */
const checkQuota = (
  { hub, metrics }: SubscribeDeps,
  { quota }: Connection,
  { group, identity }: Pick<GroupCandidate, 'group'> & { readonly identity: ClientIdentity },
): CommandError | undefined => {
  if (quota?.hasRoom() === false) {
    metrics.rateLimited('session_groups', identity);
    return new CommandError(
      ReplyError.LimitExceeded,
      'the connections of this session are in as many groups as they may be together (MAX_SUBSCRIPTIONS_PER_SESSION)',
    );
  }
  if (hub.groupOf(groupKeyOf(identity.tenant, group)) !== undefined || quota?.takeNewGroup() !== false)
    return undefined;
  metrics.rateLimited('new_groups', identity);
  return new CommandError(ReplyError.TooManyRequests, NEW_GROUPS);
};

/** Other subscription types are rejected by type. */
const hasUnknownDelta = ({ type, delta }: SubscribeCommand): boolean =>
  type === 0 && delta !== '' && delta !== 'fossil';

const mayCompact = ({ codec }: Connection, { flag }: SubscribeCommand, { channelCompaction }: GroupOptions): boolean =>
  (flag & COMPACTION) !== 0 && (channelCompaction === 'all' || channelCompaction === codec.encoding);

/** Not with a tags filter: a delta against a publication that was filtered out cannot be applied. */
const deltasOf = (
  { delta }: SubscribeCommand,
  { allowedDeltaTypes, deltaPublish }: GroupOptions,
): DeliveryOptions['deltas'] => {
  if (delta !== 'fossil' || !allowedDeltaTypes.includes(delta)) return undefined;
  return deltaPublish ? 'all' : 'marked';
};

const badName = (channel: string): CommandError =>
  new CommandError(ReplyError.BadRequest, `\`channel\` ${groupNameFault(channel)}`);

/** Positioning and recovery: forced by the group, or requested and allowed. Never an error. */
const positionsOf = (
  command: SubscribeCommand,
  identity: ClientIdentity,
  group: GroupName,
  options: GroupOptions,
): { readonly isPositioned: boolean; readonly isRecoverable: boolean } => {
  if (options.retention === undefined) return { isPositioned: false, isRecoverable: false };
  const mayRead = isAllowed({ action: 'history', identity, group, options, isSubscribed: true });
  const isRecoverable = options.forceRecovery || (command.recoverable && options.allowRecovery && mayRead);
  const requestsPosition = command.positioned && options.allowPositioning && mayRead;
  return { isRecoverable, isPositioned: isRecoverable || options.forcePositioning || requestsPosition };
};

const join = async (
  deps: SubscribeDeps,
  connection: Connection,
  command: SubscribeCommand,
  { info, ...granted }: Granted & { readonly info: ClientInfo },
): Promise<void> => {
  const { group, key, options, terms, basis, isRecoverable, delivery } = granted;
  const { sendBuffer, waiting } = connection;
  // Not while a token or the application decides: that may take long.
  const sharesWrite = waiting.length > 1 || sendBuffer.awaitsCommands;
  if (sharesWrite) sendBuffer.startCommand();
  try {
    await deps.hub.join({
      key,
      member: connection,
      retention: options.retention,
      delivery,
      presence: presenceInfoOf(options, connection.id, info),
      recoveryMode: options.recoveryMode,
      recover: command.recover && isRecoverable ? command : undefined,
      onJoined: (subscription, start) => {
        const { identity } = connection;
        if (connection.isClosed || identity === undefined) return false;
        // The permission may have been revoked while the group was being opened.
        if (!deps.review.isStillGranted(identity, group, basis)) {
          connection.memberships.delete(group);
          connection.fail(command.id, ReplyError.PermissionDenied);
          return false;
        }
        countRecovery(deps.metrics, start);
        if (start?.recovery?.ok === false && (command.flag & REFUSE_UNRECOVERED) !== 0) {
          connection.memberships.delete(group);
          connection.fail(command.id, ReplyError.UnrecoverablePosition);
          return false;
        }
        connection.memberships.set(group, { is: 'live', subscription, isServerSide: false, basis });
        const groupId = subscription.group.id;
        const result = subscribeResult({ delivery, isRecoverable, groupId, start, requested: command });
        if (terms.expiresAt !== undefined) connection.expireSubscription(group, terms.expiresAt);
        const { data } = terms;
        connection.reply({
          id: command.id,
          is: 'subscribe',
          result: { ...result, ...(data === undefined ? {} : { data }), ...expiryOf(terms.expiresAt, deps.clock) },
        });
        return true;
      },
    });
  } catch (error) {
    connection.memberships.delete(group);
    throw error;
  } finally {
    if (sharesWrite) sendBuffer.endCommand();
  }
};
