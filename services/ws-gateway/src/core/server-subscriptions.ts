import { groupKeyOf } from '@muster/bus/group-key';
import { CLOSE_REASON, CloseCode, ReplyError } from '@muster/protocol/codes';
import type { ConnectCommand, StreamPosition } from '@muster/protocol/commands';
import { type GroupName, parseGroupName } from '@muster/protocol/ids';
import type { ClientInfo, SubscribeResult } from '@muster/protocol/replies';
import type { ClientQuota } from './connection/client-quotas.ts';
import type { Connection } from './connection/connection.ts';
import { type Hub, presenceInfoOf } from './group/hub.ts';
import type { RecoveryBudget } from './group/recovery.ts';
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
  /** Bytes of recovered publications in one reply, of all its groups. */
  readonly maxReplyBytes: number;
  /** Prefix of personal groups; undefined: no personal groups. */
  readonly personalGroups: string | undefined;
}

/** A server-side subscription to open. */
export interface ServerSubscriptionPlan {
  readonly tenant: string;
  readonly group: GroupName;
  readonly options: GroupOptions;
  readonly terms: ServerSubscription;
  readonly basis: SubscribePermissionBasis;
  /** Position from which to recover. */
  readonly recover?: StreamPosition;
}

/** The server-side subscriptions of a `connect`, or its rejection. */
export type ServerSubscriptionPlans =
  | { readonly ok: true; readonly subscriptions: readonly ServerSubscriptionPlan[] }
  | { readonly ok: false; readonly close: CloseCode; readonly reason?: string }
  | { readonly ok: false; readonly error: ReplyError; readonly reason?: string };

const NO_POSITION = { offset: 0 };

/** Opens subscriptions that clients have not requested. */
export const createServerSubscriptions = (deps: ServerSubscriptionsDeps) => {
  const { hub } = deps;
  const ownBudget = (): RecoveryBudget => ({ leftBytes: deps.maxReplyBytes });

  return {
    /**
     * Plans the personal group, the groups of the credential, and the permitted groups of the client's earlier
     * connection.
     */
    plan: (identity: ClientIdentity, command: ConnectCommand, quota: ClientQuota): ServerSubscriptionPlans =>
      planOf(deps, identity, command, quota),
    /**
     * Subscribes a connecting client to all groups or to none, and returns the results for its reply. Throws REDIS_UNAVAILABLE.
     * Group frames are held back in its send buffer until that is released.
     */
    joinAll: async (
      connection: Connection,
      info: ClientInfo,
      plans: readonly ServerSubscriptionPlan[],
    ): Promise<ReadonlyMap<string, SubscribeResult>> => {
      const results = new Map<string, SubscribeResult>();
      const joined: Subscription[] = [];
      const budget = ownBudget();
      connection.sendBuffer.hold();
      const outcomes = await Promise.allSettled(
        plans.map((plan) =>
          join(deps, { connection, info, plan, budget }, (result, subscription) => {
            results.set(plan.group, result);
            joined.push(subscription);
          }),
        ),
      );
      const failure = outcomes.find((one) => one.status === 'rejected');
      if (failure === undefined) return results;
      for (const subscription of joined) hub.leave(subscription);
      connection.memberships.clear();
      throw failure.reason;
    },
    /** Subscribes a live connection and notifies its client. False when it is subscribed already, or closed. Throws REDIS_UNAVAILABLE. */
    add: async (connection: Connection, plan: ServerSubscriptionPlan): Promise<boolean> => {
      const { phase, memberships } = connection;
      if (phase.is !== 'live' || memberships.has(plan.group)) return false;
      let isSubscribed = false;
      await join(deps, { connection, info: phase.info, plan, budget: ownBudget() }, (result) => {
        isSubscribed = true;
        connection.pushSubscribed(plan.group, result);
      });
      return isSubscribed;
    },
  };
};

export type ServerSubscriptions = ReturnType<typeof createServerSubscriptions>;

/** Joins a group, and calls `onLive` in the turn in which the subscription becomes live. */
const join = (
  { hub, metrics }: ServerSubscriptionsDeps,
  request: {
    readonly connection: Connection;
    readonly info: ClientInfo;
    readonly plan: ServerSubscriptionPlan;
    readonly budget: RecoveryBudget;
  },
  onLive: (result: SubscribeResult, subscription: Subscription) => void,
): Promise<void> => {
  const { connection, info, plan, budget } = request;
  const { group, options, terms, basis, recover, tenant } = plan;
  const { delivery, isRecoverable, presence } = grantOf(connection, info, plan);
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
      onLive(terms.data === undefined ? result : { ...result, data: terms.data }, subscription);
      return true;
    },
  });
  return joined.catch((error: unknown) => {
    connection.memberships.delete(group);
    throw error;
  });
};

/** The options of the group with the overrides of the subscription. */
const grantOf = (connection: Connection, info: ClientInfo, { options: ofGroup, terms }: ServerSubscriptionPlan) => {
  const options = { ...ofGroup, ...terms.override };
  const isRetained = options.retention !== undefined;
  const isRecoverable = isRetained && options.forceRecovery;
  const isPositioned = isRecoverable || (isRetained && options.forcePositioning);
  const presence = presenceInfoOf(
    options,
    connection.id,
    terms.info === undefined ? info : { ...info, chanInfo: terms.info },
  );
  const delivery = {
    encoding: connection.codec.encoding,
    isPositioned,
    receivesJoinLeave: options.forcePushJoinLeave,
    mayLag: options.slowPolicy === 'lag',
  };
  return { delivery, isRecoverable, presence };
};

const NO_TERMS: ServerSubscription = {};
export const BY_SERVER: SubscribePermissionBasis = { is: 'server' };
const BY_RIGHTS: SubscribePermissionBasis = { is: 'rights' };

const planOf = (
  deps: ServerSubscriptionsDeps,
  identity: ClientIdentity,
  { subs }: ConnectCommand,
  quota: ClientQuota,
): ServerSubscriptionPlans => {
  const found = new Map<string, ServerSubscriptionPlan>();
  const add = (known: Known, terms: ServerSubscription, basis: SubscribePermissionBasis): void => {
    const position = subs.get(known.group);
    found.set(known.group, {
      ...known,
      tenant: identity.tenant,
      terms,
      basis,
      ...(position?.recover ? { recover: position } : {}),
    });
  };
  const personal = personalOf(deps, identity);
  if (personal !== undefined) add(personal, NO_TERMS, BY_SERVER);
  for (const [name, terms] of identity.subs ?? []) {
    const known = knownOf(deps, name);
    if (known === undefined) return { ok: false, error: ReplyError.UnknownGroup, reason: unknownIn(name) };
    add(known, terms, BY_SERVER);
  }
  const permitted = permittedOf(deps, identity, subs);
  if (permitted === undefined) return { ok: false, close: CloseCode.BadRequest };
  const named = permitted.filter(({ group }) => !found.has(group));
  for (const known of named) add(known, NO_TERMS, BY_RIGHTS);
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
  return { ok: true, subscriptions: [...found.values()] };
};

/** Characters of a group name that an error quotes. */
const MAX_QUOTED_LENGTH = 40;

const unknownIn = (name: string): string =>
  `the credential names the group \`${name.slice(0, MAX_QUOTED_LENGTH)}\`, which is not a valid group name or has no configured namespace`;

type Known = Pick<ServerSubscriptionPlan, 'group' | 'options'>;

const knownOf = ({ namespaces }: ServerSubscriptionsDeps, name: string): Known | undefined => {
  const group = parseGroupName(name);
  const options = group && namespaces.optionsOf(group);
  return group === undefined || options === undefined ? undefined : { group, options };
};

const personalOf = (deps: ServerSubscriptionsDeps, { user, isReceiveOnly }: ClientIdentity): Known | undefined =>
  deps.personalGroups === undefined || user === '' || isReceiveOnly
    ? undefined
    : knownOf(deps, deps.personalGroups + userInName(user));

/**
 * Server-side subscriptions of the client's earlier connection that it may open by itself. Namespaces may have been removed since.
 * Undefined for an invalid name.
 */
const permittedOf = (
  deps: ServerSubscriptionsDeps,
  identity: ClientIdentity,
  subs: ConnectCommand['subs'],
): Known[] | undefined => {
  const permitted: Known[] = [];
  for (const name of subs.keys()) {
    const group = parseGroupName(name);
    if (group === undefined) return undefined;
    const options = deps.namespaces.optionsOf(group);
    if (options === undefined) continue;
    const known = { group, options };
    if (isAllowed({ action: 'subscribe', identity, ...known, isSubscribed: false })) permitted.push(known);
  }
  return permitted;
};
