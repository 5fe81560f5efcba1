import { readIdempotencyKey } from '@muster/http/idempotency-key';
import { type Route, route } from '@muster/http/route';
import type { Logger } from '@muster/kit/logger';
import { AppError } from '@muster/protocol/errors';
import { DEFAULT_TENANT, isTenantName, parseGroupName } from '@muster/protocol/ids';
import type { Request } from 'express';
import { z } from 'zod';
import type { DeviceInfo, GatewayClient, SessionClient, SocketInfo, SocketList } from '../core/operator-ports.ts';

/** A client without its API key is undefined. */
interface OperatorRoutesDeps {
  readonly sessions: SessionClient | undefined;
  readonly groups: GatewayClient | undefined;
  readonly guard: (req: Request) => void;
  readonly log: Logger;
}

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;
/** Gateways name guests by the first characters of their session ids. */
const GUEST = /^guest:/;
const SOCKETS_OF_A_USER = 500;
const SOCKETS_OF_A_GROUP = 1_000;
const SHOWN_MEMBERS = 50;
const SHOWN_GROUPS = 100;
const GUEST_SESSIONS = 20;

export const operatorRefusals = {
  401: { description: 'missing or invalid operator token' },
  403: { description: 'this aggregator has no OPS_TOKEN, or no API key for the request' },
  503: { description: 'the services did not respond, or rejected the API key' },
} as const;
const EVERY_TENANT = '*';
/** Query parameter `tenant` of operator routes. */
export const tenantQuery = z
  .string()
  .refine(isTenantName, 'must be a tenant name')
  .optional()
  .describe('default: the tenant of the API key of this aggregator, or `default` for a key of all tenants');
export const groupQuery = z.object({ tenant: tenantQuery });
export const groupParams = z.object({
  group: z.string().refine((text) => parseGroupName(text) !== undefined, 'must be a group name'),
});

/** `/v1/operator/sessions` and `/v1/operator/groups`. Each request queries the services. */
export const operatorRoutes = (deps: OperatorRoutesDeps): Route[] => [
  findSessions(deps),
  endSession(deps),
  listGroups(deps),
  showGroup(deps),
  publish(deps),
];

const findSessions = (deps: OperatorRoutesDeps): Route =>
  route({
    method: 'get',
    path: '/v1/operator/sessions',
    summary: 'Live sessions of a user, by id, or the newest, with their connections on all gateways',
    description: '`tenant` applies to a user and to the newest sessions; a session id is found in every tenant.',
    query: z.object({ find: z.string().trim().max(255).default(''), tenant: tenantQuery }),
    guard: deps.guard,
    responses: {
      200: {
        description:
          'sessions; `silent` lists gateways that did not respond, and `sockets` is null if one of them may have a connection; all are null when no gateway responded. `onlyTenant` is the tenant of the server API key: sockets of other tenants are null',
      },
      ...operatorRefusals,
    },
    handle: async ({ query: { find, tenant } }) => {
      const [{ devices, more }, sockets] = await lookUpSessions(deps, find, tenant);
      const known = new Set(devices.map(({ id }) => id));
      return {
        status: 200,
        body: {
          items: devices.map((device) => ({ ...device, sockets: socketsOf(sockets, device) })),
          // Clients with application tokens have no session.
          others: sockets?.sockets.filter(({ session }) => !known.has(session)) ?? null,
          more,
          gateways: sockets?.gateways ?? null,
          silent: sockets?.silent ?? null,
          onlyTenant: sockets?.onlyTenant ?? null,
        },
      };
    },
  });

/** Null when unknown: none was found, and a gateway that may have a connection did not respond, or the key is bound to another tenant. */
const socketsOf = (
  list: SocketList | undefined,
  { id, tenant }: Pick<DeviceInfo, 'id' | 'tenant'>,
): readonly SocketInfo[] | null => {
  const own = list?.sockets.filter(({ session }) => session === id) ?? [];
  const isShown = list?.onlyTenant === undefined || list.onlyTenant === tenant;
  return own.length > 0 || (list?.silent.length === 0 && isShown) ? own : null;
};

type SessionLookup = readonly [
  { readonly devices: readonly DeviceInfo[]; readonly more: boolean },
  SocketList | undefined,
];

const lookUpSessions = async (
  deps: OperatorRoutesDeps,
  find: string,
  named: string | undefined,
): Promise<SessionLookup> => {
  const sessions = required(deps.sessions, 'SERVICE_API_KEYS');
  const groups = required(deps.groups, 'SERVER_API_KEYS');
  // Sessions are shown without sockets when the gateways do not respond.
  const orUnknown = <T>(work: Promise<T>) =>
    work.catch((error: unknown) => {
      deps.log.debug({ error }, 'operator.socket_lookup_failed');
      return undefined;
    });
  if (GUEST.test(find)) {
    const sockets = await groups.sockets(
      { user: find, ...(named === undefined ? {} : { tenant: named }) },
      SOCKETS_OF_A_USER,
    );
    const ids = [...new Set(sockets.sockets.map(({ session }) => session))].filter((id) => UUID.test(id));
    return [await sessions.find({ by: 'ids', ids: ids.slice(0, GUEST_SESSIONS) }), sockets];
  }
  if (UUID.test(find)) {
    const found = await sessions.find({ by: 'ids', ids: [find.toLowerCase()] });
    return [found, await orUnknown(groups.socketsOf(found.devices.map(({ id }) => id)))];
  }
  const tenant = named ?? (await orUnknown(groups.onlyTenant()));
  if (find !== '') {
    const found = await sessions.find({ by: 'user', user: find, tenant });
    const of = tenant ?? found.devices[0]?.tenant ?? DEFAULT_TENANT;
    return [found, await orUnknown(groups.sockets({ user: find, tenant: of }, SOCKETS_OF_A_USER))];
  }
  const found = await sessions.find({ by: 'newest', tenant });
  return [found, await orUnknown(groups.socketsOf(found.devices.map(({ id }) => id)))];
};

const endSession = ({ sessions, guard, log }: OperatorRoutesDeps): Route =>
  route({
    method: 'delete',
    path: '/v1/operator/sessions/:id',
    summary: 'End a session and close its connections',
    params: z.object({ id: z.string().regex(UUID).toLowerCase() }),
    query: z.object({ reason: z.string().trim().max(200).default('') }),
    guard,
    responses: {
      200: { description: 'ended; `everywhere` is false while a gateway is not yet notified' },
      ...operatorRefusals,
    },
    handle: async ({ params: { id }, query: { reason } }) => {
      const everywhere = await required(sessions, 'SERVICE_API_KEYS').end(id);
      log.warn({ session: id, everywhere, reason }, 'operator.signed_out');
      return { status: 200, body: { id, everywhere } };
    },
  });

const listGroups = ({ groups, guard }: OperatorRoutesDeps): Route =>
  route({
    method: 'get',
    path: '/v1/operator/groups',
    summary: 'Groups with members, largest first',
    query: z.object({
      pattern: z.string().trim().max(255).default(''),
      tenant: z
        .union([tenantQuery, z.literal(EVERY_TENANT)])
        .describe('as in the other routes, or `*` for all tenants of the API key'),
    }),
    guard,
    responses: {
      200: {
        description:
          'at most 100 groups, and the total; members on gateways in `silent` are not counted. `onlyTenant` is the tenant of the server API key, else null',
      },
      ...operatorRefusals,
    },
    handle: async ({ query: { pattern, tenant: named } }) => {
      const client = required(groups, 'SERVER_API_KEYS');
      // A pattern without wildcards matches anywhere in the name.
      const wanted = pattern === '' || /[*?]/.test(pattern) ? pattern : `*${pattern}*`;
      const { items, gateways, silent, onlyTenant } = await client.list(wanted, await tenantOfQuery(client, named));
      const shown = items.slice(0, SHOWN_GROUPS);
      return {
        status: 200,
        body: { items: shown, total: items.length, gateways, silent, onlyTenant: onlyTenant ?? null },
      };
    },
  });

const showGroup = ({ groups, guard }: OperatorRoutesDeps): Route =>
  route({
    method: 'get',
    path: '/v1/operator/groups/:group',
    summary: 'Members of a group by gateway, and the position of its last publication',
    params: groupParams,
    query: groupQuery,
    guard,
    responses: {
      200: {
        description:
          'at most 50 members; those on gateways in `silent` are missing, and `members` is null when no other is known; `position` is null for a group without history',
      },
      404: { description: 'no namespace matches the group' },
      ...operatorRefusals,
    },
    handle: async ({ params: { group }, query }) => {
      const client = required(groups, 'SERVER_API_KEYS');
      const tenant = await tenantOfQuery(client, query.tenant);
      const [{ sockets, more, gateways, silent, onlyTenant }, position] = await Promise.all([
        client.sockets({ group, tenant }, SOCKETS_OF_A_GROUP),
        client.position({ group, tenant }),
      ]);
      const byGateway = Map.groupBy(sockets, ({ gateway }) => gateway);
      return {
        status: 200,
        body: {
          ...{ group, tenant },
          // Unknown, not zero.
          members: sockets.length === 0 && silent.length > 0 ? null : sockets.length,
          more,
          ...{ gateways, silent, onlyTenant: onlyTenant ?? null },
          byGateway: [...byGateway]
            .map(([gateway, some]) => ({
              gateway,
              members: some.length,
              lagBytes: some.reduce((sum, { lagBytes }) => sum + lagBytes, 0),
            }))
            .sort((a, b) => a.gateway.localeCompare(b.gateway)),
          sockets: sockets.slice(0, SHOWN_MEMBERS),
          position: position ?? null,
        },
      };
    },
  });

const publish = ({ groups, guard, log }: OperatorRoutesDeps): Route =>
  route({
    method: 'post',
    path: '/v1/operator/groups/:group/publications',
    summary: 'Publish to a group',
    params: groupParams,
    query: groupQuery,
    body: z.strictObject({ data: z.json() }),
    guard,
    responses: {
      201: { description: 'published; `position` is null for a group without history' },
      404: { description: 'no namespace matches the group' },
      422: { description: 'the body is not `{"data": …}`' },
      ...operatorRefusals,
    },
    handle: async ({ params: { group }, query, req, body: { data } }) => {
      const client = required(groups, 'SERVER_API_KEYS');
      const tenant = await tenantOfQuery(client, query.tenant);
      const key = readIdempotencyKey(req) ?? crypto.randomUUID();
      const position = await client.publish({ group, tenant }, data, key);
      log.warn({ group, tenant, offset: position?.offset }, 'operator.published');
      return { status: 201, body: { group, tenant, position: position ?? null } };
    },
  });

/** The tenant of a request: `tenant` of the query, else that of the API key, else `default`. */
export const tenantOfQuery = async (
  client: Pick<GatewayClient, 'onlyTenant'>,
  named: string | undefined,
): Promise<string> => named ?? (await client.onlyTenant()) ?? DEFAULT_TENANT;

/** Throws FORBIDDEN without the API key in `variable`. */
export const required = <T>(client: T | undefined, variable: string): T => {
  if (client !== undefined) return client;
  throw new AppError('FORBIDDEN', { detail: `This request needs ${variable}. Set it on this aggregator.` });
};
