import { CLOSE_REASON, CloseCode, maySendClose } from '@muster/protocol/codes';
import type { Payload } from '@muster/protocol/commands';
import { AppError } from '@muster/protocol/errors';
import type { ConnectionInfo } from '@muster/protocol/server-api';
import type { SubscribeRequest } from '../connection/any-connection.ts';
import { MAX_INFO_BYTES } from '../group/publication-size.ts';
import type { SubscriptionOverride } from '../ports.ts';
import { visitInSlices } from '../time-slicing.ts';
import { badRequest } from './api-errors.ts';
import type { ControlCommand, ControlTarget, GroupSize } from './control-commands.ts';
import { MAX_GLOB_LENGTH, matchesGlob } from './glob.ts';
import { type ApiDeps, type ApiMethod, EVERY_TENANT, type Params, requireOptions } from './params.ts';

/** Time for the gateways to answer. */
const ANSWER_TIMEOUT_MS = 1_000;
const DEFAULT_CONNECTIONS = 1_000;
const MAX_CONNECTIONS_LISTED = 10_000;
/** Groups visited per iteration of the event loop. */
const SLICE = 1_000;

/** Reads a payload within the limit for clients. */
type BoundedPayload = (params: Params, name: string, maxBytes?: number) => Payload;

/** Methods for connections on any gateway. Their results count the affected connections, not delivered messages. */
export const fleetMethods = ({
  bus,
  namespaces,
  metrics,
  maxDataBytes,
}: Pick<ApiDeps, 'bus' | 'namespaces' | 'metrics' | 'maxDataBytes'>): Record<string, ApiMethod> => {
  const bounded: BoundedPayload = (params, name, maxBytes = maxDataBytes) => {
    const data = params.payload(name);
    const bytes = Buffer.byteLength(data);
    if (bytes <= maxBytes) return data;
    metrics.refused('too_large');
    throw new AppError('PAYLOAD_TOO_LARGE', {
      detail: `\`${name}\` has ${bytes} bytes; at most ${maxBytes}`,
    });
  };
  const query = (command: ControlCommand): Promise<unknown[]> => bus.query(command, ANSWER_TIMEOUT_MS);
  const count = async (command: ControlCommand): Promise<string> => {
    const answers = await query(command);
    const clients = answers.reduce<number>((sum, answer) => sum + (Number(answer) || 0), 0);
    return JSON.stringify({ clients, gateways: answers.length });
  };
  return {
    disconnect: async (params, tenant, reach) => {
      const close = disconnectOf(params.object('disconnect'));
      const target = targetOf(params, { tenant, reach }, params.ids('whitelist'));
      return count({ do: 'disconnect', target, ...close });
    },
    subscribe: async (params, tenant, reach) => {
      const group = params.group();
      requireOptions({ namespaces }, group);
      const target = targetOf(params, { tenant, reach });
      return count({ do: 'subscribe', target, group, ...subscribeRequest(params, bounded) });
    },
    send: async (params, tenant, reach) =>
      count({ do: 'send', target: targetOf(params, { tenant, reach }), data: bounded(params, 'data') }),
    refresh: async (params, tenant, reach) => {
      const expiry = expiryOf(params);
      const target = targetOf(params, { tenant, reach });
      return count({ do: 'refresh', target, expired: params.flag('expired'), ...expiry });
    },
    unsubscribe: async (params, tenant, reach) => {
      const group = params.text('channel') === '' ? '' : params.group();
      return count({ do: 'unsubscribe', target: targetOf(params, { tenant, reach }), group });
    },
    connections: async (params, tenant, reach) => {
      const limit = params.integer('limit') || DEFAULT_CONNECTIONS;
      if (limit < 0 || limit > MAX_CONNECTIONS_LISTED)
        throw params.bad('limit', `must be 0 to ${MAX_CONNECTIONS_LISTED}`);
      const group = params.text('channel') === '' ? '' : params.group();
      const target = optionalTarget(params, { tenant, reach });
      const answers = await query({ do: 'connections', target, group, limit });
      const connections = answers.flatMap((some) => (Array.isArray(some) ? (some as ConnectionInfo[]) : []));
      return JSON.stringify({ connections: connections.slice(0, limit), gateways: answers.length });
    },
    channels: async (params, tenant) => {
      const pattern = params.text('pattern');
      if (pattern.length > MAX_GLOB_LENGTH)
        throw badRequest(`\`pattern\` is longer than ${MAX_GLOB_LENGTH} characters`);
      const groups = new Map<string, GroupCount>();
      for (const answer of await query({ do: 'channels', pattern, tenant })) {
        await visitInSlices(answer as GroupSize[], SLICE, ([name, size, of]) => {
          // A gateway of an older version returns all its groups.
          if (matchesGlob(pattern, name)) addGroup(groups, name, size, of);
        });
      }
      return `{"channels":${jsonOfGroups(groups, tenant === EVERY_TENANT)}}`;
    },
    info: async (_params, _tenant, reach) => {
      const nodes = await query({ do: 'info', tenant: reach });
      return JSON.stringify(reach === EVERY_TENANT ? { nodes } : { nodes, tenant: reach });
    },
  };
};

/** Members of the groups of one name: in total, and by tenant where gateways report it. */
interface GroupCount {
  total: number;
  readonly byTenant: Map<string, number>;
}

const addGroup = (groups: Map<string, GroupCount>, name: string, size: number, tenant: string | undefined): void => {
  const count = groups.get(name) ?? { total: 0, byTenant: new Map<string, number>() };
  groups.set(name, count);
  count.total += size;
  if (tenant !== undefined) count.byTenant.set(tenant, (count.byTenant.get(tenant) ?? 0) + size);
};

const jsonOfGroups = (groups: ReadonlyMap<string, GroupCount>, isByTenant: boolean): string => {
  const member = ([name, { total, byTenant }]: [string, GroupCount]): string => {
    const tenants = isByTenant ? `,"tenants":${JSON.stringify(Object.fromEntries(byTenant))}` : '';
    return `${JSON.stringify(name)}:{"num_clients":${total}${tenants}}`;
  };
  return `{${[...groups].map(member).join(',')}}`;
};

/** The terms of a subscription by the server API. */
const subscribeRequest = (params: Params, bounded: BoundedPayload): Omit<SubscribeRequest, 'group'> => {
  const given = (name: string) => params.has(name) || params.has(`b64${name}`);
  const since = params.object('recover_since');
  const override = params.object('override');
  const expiry = expiryOf(params);
  return {
    terms: {
      ...(given('info') ? { info: bounded(params, 'info', MAX_INFO_BYTES) } : {}),
      ...(given('data') ? { data: bounded(params, 'data') } : {}),
      ...expiry,
      ...(override === undefined ? {} : { override: overrideOf(override) }),
    },
    ...(since === undefined ? {} : { recover: { offset: since.integer('offset'), epoch: since.text('epoch') } }),
  };
};

/** `expire_at` in ms since the Unix epoch; 0: none. */
const expiryOf = (params: Params): { readonly expiresAt?: number } => {
  const expireAt = params.integer('expire_at');
  if (expireAt < 0) throw params.bad('expire_at', 'must not be negative');
  return expireAt === 0 ? {} : { expiresAt: expireAt * 1_000 };
};

const OVERRIDES = [
  ['presence', 'presence'],
  ['joinLeave', 'join_leave'],
  ['forcePushJoinLeave', 'force_push_join_leave'],
  ['forceRecovery', 'force_recovery'],
  ['forcePositioning', 'force_positioning'],
] as const;

/** `{"presence": {"value": true}, …}`. */
const overrideOf = (given: Params): SubscriptionOverride =>
  Object.fromEntries(
    OVERRIDES.flatMap(([key, name]) => {
      const one = given.object(name);
      return one === undefined ? [] : [[key, one.flag('value')]];
    }),
  );

/** The selected connections; at least one field is required. */
const targetOf = (params: Params, scope: TargetScope, except: readonly string[] = []): ControlTarget => {
  const target = optionalTarget(params, scope, except);
  const isNamed = target.user !== undefined || target.client !== undefined || target.session !== undefined;
  if (!isNamed) throw params.missing('user, client or session');
  return target;
};

/** Tenants of a target: `tenant` for users, whose ids are unique per tenant only, and `reach` for a client or session. */
interface TargetScope {
  readonly tenant: string;
  readonly reach: string;
}

const optionalTarget = (
  params: Params,
  { tenant, reach }: TargetScope,
  except: readonly string[] = [],
): ControlTarget => {
  const [user, client, session] = [params.text('user'), params.id('client'), params.id('session')];
  return {
    tenant: client === '' && session === '' ? tenant : reach,
    ...(user === '' ? {} : { user }),
    ...(client === '' ? {} : { client }),
    ...(session === '' ? {} : { session }),
    except,
  };
};

/** A close code that clients accept, with a reason that is neither empty nor JSON. */
const disconnectOf = (given: Params | undefined): { readonly code: number; readonly reason: string } => {
  const byDefault = CLOSE_REASON[CloseCode.ForceDisconnect];
  if (given === undefined) return { code: CloseCode.ForceDisconnect, reason: byDefault };
  const code = given.integer('code');
  const reason = given.text('reason') || byDefault;
  if (!maySendClose(code, reason)) {
    throw given.bad('code', 'must be 3000 to 4999, with a reason of at most 123 bytes that is not JSON');
  }
  return { code, reason };
};
