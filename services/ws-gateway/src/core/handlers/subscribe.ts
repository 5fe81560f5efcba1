import { type GroupKey, groupKeyOf } from '@muster/bus/group-key';
import type { Clock } from '@muster/kit/clock';
import { ReplyError } from '@muster/protocol/codes';
import type { SubscribeCommand } from '@muster/protocol/commands';
import { type GroupName, groupNameFault, parseGroupName } from '@muster/protocol/ids';
import { MAX_GROUP_NAME_LENGTH } from '@muster/protocol/limits';
import type { ClientInfo } from '@muster/protocol/replies';
import { parseTagsFilter, type TagsFilter } from '@muster/protocol/tags-filter';
import { replyWithAppError } from '../app-errors.ts';
import type { Connection } from '../connection/connection.ts';
import type { ConnectionSubscription } from '../connection/connection-state.ts';
import { CommandError } from './command-error.ts';
import { type Hub, presenceInfoOf } from '../group/hub.ts';
import { countRecovery, subscribeResult } from '../group/subscribe-result.ts';
import type { DeliveryOptions } from '../group/subscription.ts';
import type { GroupOptions, Namespaces } from '../namespaces.ts';
import type { PermissionReview } from '../permission-review.ts';
import { isAllowed } from '../permissions.ts';
import type { ClientIdentity, EngineMetrics, ServerSubscription } from '../ports.ts';
import { ttlOf } from './connect.ts';
import { NEW_GROUPS, NO_NAMESPACE, onlyType0 } from './reasons.ts';
import {
  createSubscribePermissions,
  type SubscribePermission,
  type SubscribePermissionBasis,
  type SubscribePermissionsDeps,
} from './subscribe-permissions.ts';

export interface SubscribeDeps extends SubscribePermissionsDeps {
  readonly hub: Hub;
  readonly namespaces: Namespaces;
  readonly metrics: EngineMetrics;
  readonly maxSubscriptions: number;
  readonly review: Pick<PermissionReview, 'isStillGranted'>;
}

/** A group that is there and that the client is not in. */
interface Place {
  readonly group: GroupName;
  readonly options: GroupOptions;
}

/** A subscribe command that has passed all checks. */
interface Granted extends Place {
  readonly key: GroupKey;
  readonly terms: ServerSubscription;
  readonly basis: SubscribePermissionBasis;
  readonly isPositioned: boolean;
  readonly isRecoverable: boolean;
  readonly hearsJoinLeave: boolean;
  readonly filter: TagsFilter | undefined;
  readonly deltas: 'all' | 'marked' | undefined;
  /** The client knows the group by its number. */
  readonly isCompact: boolean;
}

const JOINING: ConnectionSubscription = { is: 'joining', isServerSide: false };
/** A kind of subscription that a server of the protocol may have or not. */
const SHARED_POLL = 4;
/** Flag of a client that knows groups by numbers. */
const COMPACTION = 1;
/** Flag of a client that wants an error rather than a subscription without what it missed. */
const REFUSE_UNRECOVERED = 2;

/** `subscribe`: the checks in the order of PROTOCOL.md §4.1, then the bus and what was missed, then the reply, then live. */
export const createSubscribe = (deps: SubscribeDeps) => {
  const rightOf = createSubscribePermissions(deps);
  return (connection: Connection, command: SubscribeCommand): Promise<void> | undefined => {
    const { phase } = connection;
    if (phase.is !== 'live') return undefined;
    if (command.channel === '') return void connection.refuse('no_group');
    if (hasUnknownDelta(command)) return void connection.refuse('unknown_delta');
    const place = placeOf(deps, connection, command);
    if (place instanceof CommandError) return void connection.fail(command.id, place.code, place.reason);
    const caller = { client: connection.id, identity: phase.identity, encoding: connection.codec.encoding };
    const right = rightOf({ caller, ...place, command });
    if (!(right instanceof Promise)) return enter(deps, connection, command, place, right);
    // Commands about this group wait meanwhile.
    connection.memberships.set(place.group, JOINING);
    return right.then((decided) => {
      if (connection.isOver) return undefined;
      connection.memberships.delete(place.group);
      return enter(deps, connection, command, place, decided);
    });
  };
};

const placeOf = (
  deps: SubscribeDeps,
  connection: Connection,
  command: SubscribeCommand,
): Place | CommandError => {
  const group = checkName(deps, connection, command);
  if (group instanceof CommandError) return group;
  const options = deps.namespaces.optionsOf(group);
  if (options === undefined) return new CommandError(ReplyError.UnknownGroup, NO_NAMESPACE);
  if (options.nameRegex?.test(group) === false)
    return new CommandError(
      ReplyError.BadRequest,
      '`channel` does not match the `channel_regex` of its namespace',
    );
  return { group, options };
};

const enter = (
  deps: SubscribeDeps,
  connection: Connection,
  command: SubscribeCommand,
  place: Place,
  right: SubscribePermission,
): Promise<void> | undefined => {
  if (connection.phase.is !== 'live') return undefined;
  if (right.is !== 'granted') return void turnDown(connection, command.id, right);
  const { identity, info } = connection.phase;
  const granted = check(deps, connection, command, {
    identity,
    basis: right.basis,
    ...withTerms(place, right.terms),
  });
  if (granted instanceof CommandError) return void connection.fail(command.id, granted.code, granted.reason);
  connection.memberships.set(granted.group, JOINING);
  const chanInfo = right.terms.info;
  const shown = chanInfo === undefined ? info : { ...info, chanInfo };
  return join(deps, connection, command, { ...granted, info: shown });
};

const turnDown = (
  connection: Connection,
  id: number,
  right: Exclude<SubscribePermission, { is: 'granted' }>,
): void => {
  if (right.is === 'refused') connection.fail(id, right.code);
  else if (right.is === 'closed') connection.close(right.code);
  else replyWithAppError(connection, id, right);
};

/** What the group has, but for what the terms of this subscription say themselves. */
const withTerms = (
  { group, options }: Place,
  terms: ServerSubscription,
): Place & { readonly terms: ServerSubscription } => ({
  group,
  options: terms.override === undefined ? options : { ...options, ...terms.override },
  terms,
});

const check = (
  deps: SubscribeDeps,
  connection: Connection,
  command: SubscribeCommand,
  candidate: Place & Pick<Granted, 'terms' | 'basis'> & { readonly identity: ClientIdentity },
): Granted | CommandError => {
  const { identity, group, options, terms, basis } = candidate;
  const wish = { identity, group, options };
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
  const mayLook = isAllowed({ ...wish, action: 'presence', isSubscribed: true });
  const hearsJoinLeave = options.forcePushJoinLeave || (command.joinLeave && mayLook);
  const positions = wishes(command, identity, group, options);
  const deltas = filter === undefined ? deltasOf(command, options) : undefined;
  const isCompact = mayCompact(connection, command, options);
  return { group, key, options, terms, basis, hearsJoinLeave, filter, deltas, isCompact, ...positions };
};

/** What the client uses of the gateway and of Redis with all its connections. */
const checkQuota = (
  { hub, metrics }: SubscribeDeps,
  { quota }: Connection,
  { group, identity }: Pick<Place, 'group'> & { readonly identity: ClientIdentity },
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

/** Only streams have deltas; other kinds are refused for what they are. */
const hasUnknownDelta = ({ type, delta }: SubscribeCommand): boolean =>
  type === 0 && delta !== '' && delta !== 'fossil';

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
): GroupName | CommandError => {
  const { type, channel } = command;
  if (type === SHARED_POLL) return new CommandError(ReplyError.NotAvailable, onlyType0(type));
  if (type !== 0) return new CommandError(ReplyError.PermissionDenied, onlyType0(type));
  if (channel.length > MAX_GROUP_NAME_LENGTH) return badName(channel);
  if (memberships.has(channel)) return new CommandError(ReplyError.AlreadySubscribed);
  if (memberships.size >= maxSubscriptions)
    return new CommandError(
      ReplyError.LimitExceeded,
      `a connection may be in ${maxSubscriptions} groups (MAX_SUBSCRIPTIONS): unsubscribe from another first`,
    );
  return parseGroupName(channel) ?? badName(channel);
};

const badName = (channel: string): CommandError =>
  new CommandError(ReplyError.BadRequest, `\`channel\` ${groupNameFault(channel)}`);

/** What the client may rely on: what the group forces, and what it asks for and may have. Never an error. */
const wishes = (
  command: SubscribeCommand,
  identity: ClientIdentity,
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
  const { group, key, options, terms, basis, isRecoverable } = granted;
  const service = serviceOf(connection, granted);
  const who = presenceInfoOf(options, connection.id, info);
  const recover = command.recover && isRecoverable ? { recover: command } : {};
  try {
    await deps.hub.join({
      key,
      member: connection,
      retention: options.retention,
      service,
      ...(who === undefined ? {} : { who }),
      recoveryMode: options.recoveryMode,
      ...recover,
      onJoined: (subscription, start) => {
        const { identity } = connection;
        if (connection.isOver || identity === undefined) return false;
        // What was decided may have been taken away while the group was being opened.
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
        const result = subscribeResult({ service, isRecoverable, groupId, start, asked: command });
        if (terms.expiresAt !== undefined) connection.expireMembership(group, terms.expiresAt);
        connection.reply({
          id: command.id,
          is: 'subscribe',
          result: { ...result, ...toldOf(terms, deps.clock) },
        });
        return true;
      },
    });
  } catch (error) {
    connection.memberships.delete(group);
    throw error;
  }
};

/** What the client is told of the terms. */
const toldOf = ({ data, expiresAt }: ServerSubscription, clock: Clock) => ({
  ...(data === undefined ? {} : { data }),
  ...(expiresAt === undefined ? {} : { expires: true, ttlS: ttlOf(expiresAt, clock) }),
});

const serviceOf = ({ codec }: Connection, granted: Granted): DeliveryOptions => ({
  encoding: codec.encoding,
  isCompact: granted.isCompact,
  isPositioned: granted.isPositioned,
  hearsJoinLeave: granted.hearsJoinLeave,
  deltas: granted.deltas,
  filter: granted.filter,
  mayLag: granted.options.slowPolicy === 'lag',
});
