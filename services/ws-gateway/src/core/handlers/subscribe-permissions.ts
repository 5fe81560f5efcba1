import type { Clock } from '@muster/kit/clock';
import { CloseCode, ReplyError } from '@muster/protocol/codes';
import type { SubscribeCommand } from '@muster/protocol/commands';
import type { ClientId, GroupName } from '@muster/protocol/ids';
import { isGranted } from '@muster/session/grants';
import type { AppCallbacks, CallbackAnswer, Caller } from '../callbacks.ts';
import type { GroupOptions } from '../namespaces.ts';
import { isAllowed, isForUser, type SubscribePermissionBasis } from '../permissions.ts';
import type { ClientIdentity, ServerSubscription, SubscriptionGrant, SubscriptionTokenReader } from '../ports.ts';

export interface SubscribePermissionsDeps {
  readonly clock: Clock;
  readonly subscriptionTokens: SubscriptionTokenReader;
  readonly callbacks: Pick<AppCallbacks, 'subscribe'>;
}

/** A subscribe command to decide on. */
export interface SubscribePermissionRequest {
  readonly caller: Caller;
  readonly group: GroupName;
  readonly options: GroupOptions;
  readonly command: Pick<SubscribeCommand, 'token' | 'data'>;
}

/** Terms of a permitted subscription, or its rejection. */
export type SubscribePermission =
  | { readonly is: 'granted'; readonly terms: ServerSubscription; readonly basis: SubscribePermissionBasis }
  | { readonly is: 'rejected'; readonly code: ReplyError }
  | { readonly is: 'closed'; readonly code: CloseCode }
  | Exclude<CallbackAnswer<never>, { is: 'result' | 'unavailable' }>;

const GRANTED: SubscribePermission = { is: 'granted', terms: {}, basis: { is: 'rights' } };

/**
 * Decides on a subscribe command, in this order: subscription token, grant of the session, group name, callback of the application,
 * options of the group. Only tokens and callbacks are asynchronous.
 */
export const createSubscribePermissions =
  (deps: SubscribePermissionsDeps) =>
  (request: SubscribePermissionRequest): SubscribePermission | Promise<SubscribePermission> => {
    const { caller, group, options, command } = request;
    if (caller.identity.isReceiveOnly) return rejected(ReplyError.PermissionDenied);
    if (command.token !== '') return byToken(deps, request);
    if (mayUseCallback(caller.identity, group) && options.subscribeCallback) return byCallback(deps, request);
    const { identity } = caller;
    return isAllowed({ action: 'subscribe', identity, group, options, isSubscribed: false })
      ? GRANTED
      : rejected(ReplyError.PermissionDenied);
  };

const rejected = (code: ReplyError): SubscribePermission => ({ is: 'rejected', code });

/** The callback decides where neither a grant nor the name of the group does. */
const mayUseCallback = ({ grants, user }: ClientIdentity, group: GroupName): boolean =>
  !isGranted(grants, group, 'subscribe') && isForUser(group, user) && !group.startsWith('$');

const byToken = async (
  { subscriptionTokens, clock }: SubscribePermissionsDeps,
  { caller, group, command }: SubscribePermissionRequest,
): Promise<SubscribePermission> => {
  const grant = await subscriptionTokens.read(command.token);
  if (!grant.ok) return rejected(REJECTIONS[grant.why]);
  if (!isGrantFor(grant, { id: caller.client, identity: caller.identity }, group))
    return { is: 'closed', code: CloseCode.InvalidToken };
  const { terms } = grant;
  if (terms.expiresAt !== undefined && terms.expiresAt <= clock.now()) return rejected(ReplyError.Expired);
  return { is: 'granted', terms, basis: { is: 'token', key: grant.tokenKey } };
};

const REJECTIONS: Readonly<Record<Exclude<SubscriptionGrant, { ok: true }>['why'], ReplyError>> = {
  expired: ReplyError.TokenExpired,
  invalid: ReplyError.PermissionDenied,
  none: ReplyError.PermissionDenied,
  unavailable: ReplyError.Internal,
};

/** True when a subscription token is for this connection and group. */
export const isGrantFor = (
  { tenant, user, client, group }: Extract<SubscriptionGrant, { ok: true }>,
  connection: { readonly id: ClientId; readonly identity: ClientIdentity | undefined },
  wanted: GroupName,
): boolean =>
  group === wanted &&
  (tenant === undefined || tenant === connection.identity?.tenant) &&
  (client === undefined || client === connection.id) &&
  (user === undefined || user === connection.identity?.user);

const byCallback = async (
  { callbacks, clock }: SubscribePermissionsDeps,
  { caller, group, command }: SubscribePermissionRequest,
): Promise<SubscribePermission> => {
  const { data } = command;
  const answer = await callbacks.subscribe(caller, { group, ...(data === undefined ? {} : { data }) });
  if (answer.is === 'unavailable') return rejected(ReplyError.Internal);
  if (answer.is !== 'result') return answer;
  const { expiresAt } = answer.result;
  if (expiresAt !== undefined && expiresAt <= clock.now()) return rejected(ReplyError.Expired);
  return { is: 'granted', terms: answer.result, basis: { is: 'application' } };
};
