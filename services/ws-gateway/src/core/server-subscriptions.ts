import { groupKeyOf } from '@muster/bus/group-key';
import { CLOSE_REASON, CloseCode, ReplyError } from '@muster/protocol/codes';
import type { ConnectCommand, StreamPosition } from '@muster/protocol/commands';
import { type GroupName, parseGroupName } from '@muster/protocol/ids';
import type { ClientInfo, SubscribeResult } from '@muster/protocol/replies';
import type { ClientQuota } from './connection/client-quotas.ts';
import type { Connection } from './connection/connection.ts';
import { type Hub, presenceInfoOf } from './group/hub.ts';
import type { RecoveryBudget, RecoveryStart } from './group/recovery.ts';
import { countRecovery, subscribeResult } from './group/subscribe-result.ts';
import type { Subscription } from './group/subscription.ts';
import type { GroupOptions, Namespaces } from './namespaces.ts';
import { isAllowed, type SubscribePermissionBasis, userInName } from './permissions.ts';
import type { ClientIdentity, EngineMetrics, ServerSubscription } from './ports.ts';

export interface ServerSubscriptionsDeps {
  readonly hub: Hub;
  readonly namespaces: Namespaces;
  readonly metrics: EngineMetrics;
  readonly maxSubscriptions: number;
  /** Bytes of publications in the reply to `connect`, for all groups together. */
  readonly maxReplyBytes: number;
  /** What the name of a user's own group begins with; undefined: users have none. */
  readonly personalGroups: string | undefined;
}

/** A group that a client is to be put into. */
export interface ServerSubscriptionOutcome {
  readonly tenant: string;
  readonly group: GroupName;
  readonly options: GroupOptions;
  readonly terms: ServerSubscription;
  readonly basis: SubscribePermissionBasis;
  /** Where the client was in it. */
  readonly recover?: StreamPosition;
}

/** The groups that a client is put into when it connects, or why it cannot connect. */
export type ServerSubscriptionOutcomes =
  | { readonly ok: true; readonly placements: readonly ServerSubscriptionOutcome[] }
  | { readonly ok: false; readonly close: CloseCode; readonly reason?: string }
  | { readonly ok: false; readonly error: ReplyError; readonly reason?: string };

/** Subscriptions that clients did not ask for. */
export interface ServerSubscriptions {
  /** Its own group, those of its credential, and those it was in before and may be in. */
  placementsOf(
    identity: ClientIdentity,
    command: ConnectCommand,
    quota: ClientQuota,
  ): ServerSubscriptionOutcomes;
  /**
   * Puts a connection that is being let in into groups, all or none, and says what to tell it. Throws REDIS_UNAVAILABLE.
   * Publications are kept back in its outbox until that is released.
   */
  enterAll(
    connection: Connection,
    info: ClientInfo,
    placements: readonly ServerSubscriptionOutcome[],
  ): Promise<ReadonlyMap<string, SubscribeResult>>;
  /** Puts a live connection into a group and tells it so. False when it is there already or has gone. Throws REDIS_UNAVAILABLE. */
  add(connection: Connection, placement: ServerSubscriptionOutcome): Promise<boolean>;
}

const NO_POSITION = { offset: 0 };

export const createServerSubscriptions = (deps: ServerSubscriptionsDeps): ServerSubscriptions => {
  const { hub, metrics } = deps;
  const ownBudget = (): RecoveryBudget => ({ leftBytes: deps.maxReplyBytes });

  /** Joins, and says in the very turn in which the membership begins what there is to tell. */
  const join = (
    connection: Connection,
    info: ClientInfo,
    placement: ServerSubscriptionOutcome,
    budget: RecoveryBudget,
    onLive: (result: SubscribeResult, subscription: Subscription, start: RecoveryStart | undefined) => void,
  ): Promise<void> => {
    const { group, options, terms, basis, recover, tenant } = placement;
    const { delivery, isRecoverable, presence } = grantOf(connection, info, placement);
    connection.memberships.set(group, { is: 'joining', isServerSide: true });
    const joined = hub.join({
      key: groupKeyOf(tenant, group),
      member: connection,
      retention: options.retention,
      ...{ delivery, presence },
      recoveryMode: options.recoveryMode,
      budget,
      recover: isRecoverable ? recover : undefined,
      onJoined: (subscription, start) => {
        if (connection.isClosed) return false;
        connection.memberships.set(group, { is: 'live', subscription, isServerSide: true, basis });
        if (terms.expiresAt !== undefined) connection.expireSubscription(group, terms.expiresAt);
        countRecovery(metrics, start);
        const granted = { delivery, isRecoverable, groupId: subscription.group.id, start };
        const result = subscribeResult({ ...granted, requested: recover ?? NO_POSITION });
        onLive(terms.data === undefined ? result : { ...result, data: terms.data }, subscription, start);
        return true;
      },
    });
    return joined.catch((error: unknown) => {
      connection.memberships.delete(group);
      throw error;
    });
  };

  return {
    placementsOf: (identity, command, quota) => placementsOf(deps, identity, command, quota),
    enterAll: async (connection, info, placements) => {
      const results = new Map<string, SubscribeResult>();
      const entered: Subscription[] = [];
      const budget = ownBudget();
      connection.sendBuffer.hold();
      const outcomes = await Promise.allSettled(
        placements.map((placement) =>
          join(connection, info, placement, budget, (result, subscription) => {
            results.set(placement.group, result);
            entered.push(subscription);
          }),
        ),
      );
      const failure = outcomes.find((one) => one.status === 'rejected');
      if (failure === undefined) return results;
      for (const subscription of entered) hub.leave(subscription);
      connection.memberships.clear();
      throw failure.reason;
    },
    add: async (connection, placement) => {
      const { phase, memberships } = connection;
      if (phase.is !== 'live' || memberships.has(placement.group)) return false;
      let isIn = false;
      await join(connection, phase.info, placement, ownBudget(), (result) => {
        isIn = true;
        connection.pushSubscribed(placement.group, result);
      });
      return isIn;
    },
  };
};

/** What the server grants: what the group has, but for what the subscription says itself. */
const grantOf = (connection: Connection, info: ClientInfo, { options, terms }: ServerSubscriptionOutcome) => {
  const { override = {} } = terms;
  const isKept = options.retention !== undefined;
  const isRecoverable = isKept && (override.forceRecovery ?? options.forceRecovery);
  const isPositioned = isRecoverable || (isKept && (override.forcePositioning ?? options.forcePositioning));
  const seen = {
    presence: override.presence ?? options.presence,
    joinLeave: override.joinLeave ?? options.joinLeave,
  };
  const presence = presenceInfoOf(
    seen,
    connection.id,
    terms.info === undefined ? info : { ...info, chanInfo: terms.info },
  );
  const delivery = {
    encoding: connection.codec.encoding,
    isPositioned,
    receivesJoinLeave: override.forcePushJoinLeave ?? options.forcePushJoinLeave,
    mayLag: options.slowPolicy === 'lag',
  };
  return { delivery, isRecoverable, presence };
};

const NO_TERMS: ServerSubscription = {};
export const BY_SERVER: SubscribePermissionBasis = { is: 'server' };
const BY_RIGHTS: SubscribePermissionBasis = { is: 'rights' };

type Wishes = ConnectCommand['subs'];

const placementsOf = (
  deps: ServerSubscriptionsDeps,
  identity: ClientIdentity,
  { subs }: ConnectCommand,
  quota: ClientQuota,
): ServerSubscriptionOutcomes => {
  const found = new Map<string, ServerSubscriptionOutcome>();
  const place = (known: Known, terms: ServerSubscription, basis: SubscribePermissionBasis): void => {
    const wish = subs.get(known.group);
    found.set(known.group, {
      ...known,
      tenant: identity.tenant,
      terms,
      basis,
      ...(wish?.recover ? { recover: wish } : {}),
    });
  };
  const personal = personalOf(deps, identity);
  if (personal !== undefined) place(personal, NO_TERMS, BY_SERVER);
  for (const [name, terms] of identity.subs ?? []) {
    const known = knownOf(deps, name);
    if (known === undefined) return { ok: false, error: ReplyError.UnknownGroup, reason: unknownIn(name) };
    place(known, terms, BY_SERVER);
  }
  const kept = keptOf(deps, identity, subs);
  if (kept === undefined) return { ok: false, close: CloseCode.BadRequest };
  const named = kept.filter(({ group }) => !found.has(group));
  for (const known of named) place(known, NO_TERMS, BY_RIGHTS);
  if (found.size > deps.maxSubscriptions) {
    const reason = `${CLOSE_REASON[CloseCode.GroupLimit]}: ${found.size} groups, at most ${deps.maxSubscriptions} (MAX_SUBSCRIPTIONS)`;
    return { ok: false, close: CloseCode.GroupLimit, reason };
  }
  if (found.size > 0 && !quota.hasRoom(found.size)) {
    deps.metrics.rateLimited('session_groups', identity);
    return { ok: false, error: ReplyError.TooManyRequests };
  }
  const isOpen = ({ group }: Known) => deps.hub.groupOf(groupKeyOf(identity.tenant, group)) !== undefined;
  if (!named.every((known) => isOpen(known) || quota.takeNewGroup())) {
    deps.metrics.rateLimited('new_groups', identity);
    return { ok: false, error: ReplyError.TooManyRequests };
  }
  return { ok: true, placements: [...found.values()] };
};

/** Characters of a group name that an error quotes. */
const MAX_QUOTED_LENGTH = 40;

const unknownIn = (name: string): string =>
  `the credential names the group \`${name.slice(0, MAX_QUOTED_LENGTH)}\`, which is no group name or has no configured namespace`;

type Known = Pick<ServerSubscriptionOutcome, 'group' | 'options'>;

const knownOf = ({ namespaces }: ServerSubscriptionsDeps, name: string): Known | undefined => {
  const group = parseGroupName(name);
  const options = group && namespaces.optionsOf(group);
  return group === undefined || options === undefined ? undefined : { group, options };
};

const personalOf = (deps: ServerSubscriptionsDeps, { user }: ClientIdentity): Known | undefined =>
  deps.personalGroups === undefined || user === ''
    ? undefined
    : knownOf(deps, deps.personalGroups + userInName(user));

/**
 * Groups that a back end had put the client into: where it may be anyway, it stays. The options of one may have been taken away
 * since. Undefined: a name that is none.
 */
const keptOf = (
  deps: ServerSubscriptionsDeps,
  identity: ClientIdentity,
  subs: Wishes,
): Known[] | undefined => {
  const kept: Known[] = [];
  for (const name of subs.keys()) {
    const group = parseGroupName(name);
    if (group === undefined) return undefined;
    const options = deps.namespaces.optionsOf(group);
    if (options === undefined) continue;
    const known = { group, options };
    if (isAllowed({ action: 'subscribe', identity, ...known, isSubscribed: false })) kept.push(known);
  }
  return kept;
};
