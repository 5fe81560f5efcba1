import type { Clock } from '@muster/kit/clock';
import { CloseCode, ReplyError } from '@muster/protocol/codes';
import type { SubscribeCommand } from '@muster/protocol/commands';
import type { ClientId, GroupName } from '@muster/protocol/ids';
import { isGranted } from '@muster/session/grants';
import type { AppCallbacks, CallbackAnswer, Caller } from '../callbacks.ts';
import type { GroupOptions } from '../namespaces.ts';
import { isAllowed, isForUser, type SubscribePermissionBasis } from '../permissions.ts';
import type {
  ClientIdentity,
  ServerSubscription,
  SubscriptionGrant,
  SubscriptionTokenReader,
} from '../ports.ts';

export interface SubscribePermissionsDeps {
  readonly clock: Clock;
  readonly subscriptionTokens: SubscriptionTokenReader;
  readonly callbacks: Pick<AppCallbacks, 'subscribe'>;
}

/** Who wants to subscribe to what. */
export interface SubscribePermissionRequest {
  readonly caller: Caller;
  readonly group: GroupName;
  readonly options: GroupOptions;
  readonly command: Pick<SubscribeCommand, 'token' | 'data'>;
}

/** On which terms a client may subscribe, or what it is answered. */
export type SubscribePermission =
  | { readonly is: 'granted'; readonly terms: ServerSubscription; readonly basis: SubscribePermissionBasis }
  | { readonly is: 'rejected'; readonly code: ReplyError }
  | { readonly is: 'closed'; readonly code: CloseCode }
  | Exclude<CallbackAnswer<never>, { is: 'result' | 'unavailable' }>;

const ON_ITS_OWN_TERMS: SubscribePermission = { is: 'granted', terms: {}, basis: { is: 'rights' } };

/**
 * Whether a client may subscribe. The first that has something to say decides: a subscription token, a grant of the session,
 * the name of the group, the application, the options of the group. Only tokens and the application take time.
 */
export const createSubscribePermissions =
  (deps: SubscribePermissionsDeps) =>
  (wish: SubscribePermissionRequest): SubscribePermission | Promise<SubscribePermission> => {
    const { caller, group, options, command } = wish;
    if (command.token !== '') return byToken(deps, wish);
    if (mayAsk(caller.identity, group) && options.subscribeCallback) return byApplication(deps, wish);
    const { identity } = caller;
    return isAllowed({ action: 'subscribe', identity, group, options, isSubscribed: false })
      ? ON_ITS_OWN_TERMS
      : rejected(ReplyError.PermissionDenied);
  };

const rejected = (code: ReplyError): SubscribePermission => ({ is: 'rejected', code });

/** The application is asked where neither a grant nor the name of the group has decided. */
const mayAsk = ({ grants, user }: ClientIdentity, group: GroupName): boolean =>
  !isGranted(grants, group, 'subscribe') && isForUser(group, user) && !group.startsWith('$');

const byToken = async (
  { subscriptionTokens, clock }: SubscribePermissionsDeps,
  { caller, group, command }: SubscribePermissionRequest,
): Promise<SubscribePermission> => {
  const permit = await subscriptionTokens.read(command.token);
  if (!permit.ok) return rejected(ANSWERS[permit.why]);
  if (!isPermitFor(permit, { id: caller.client, identity: caller.identity }, group))
    return { is: 'closed', code: CloseCode.InvalidToken };
  const { terms } = permit;
  if (terms.expiresAt !== undefined && terms.expiresAt <= clock.now()) return rejected(ReplyError.Expired);
  return { is: 'granted', terms, basis: { is: 'token', key: permit.tokenKey } };
};

const ANSWERS: Readonly<Record<Exclude<SubscriptionGrant, { ok: true }>['why'], ReplyError>> = {
  expired: ReplyError.TokenExpired,
  invalid: ReplyError.PermissionDenied,
  none: ReplyError.PermissionDenied,
  unavailable: ReplyError.Internal,
};

/** Whether a permit is for this connection and this group. */
export const isPermitFor = (
  { tenant, user, client, group }: Extract<SubscriptionGrant, { ok: true }>,
  connection: { readonly id: ClientId; readonly identity: ClientIdentity | undefined },
  wanted: GroupName,
): boolean =>
  group === wanted &&
  (tenant === undefined || tenant === connection.identity?.tenant) &&
  (client === undefined || client === connection.id) &&
  (user === undefined || user === connection.identity?.user);

const byApplication = async (
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
