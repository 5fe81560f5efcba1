import { readIdempotencyKey } from '@muster/http/idempotency-key';
import { type Route, route } from '@muster/http/route';
import type { Logger } from '@muster/kit/logger';
import { AppError } from '@muster/protocol/errors';
import { DEFAULT_TENANT, isTenantName, parseGroupName } from '@muster/protocol/ids';
import type { Request } from 'express';
import { z } from 'zod';
import type {
  DeviceInfo,
  GatewayClient,
  SessionClient,
  SocketInfo,
  SocketList,
} from '../core/operator-ports.ts';

/** What the routes need; a desk without its key is undefined. */
export interface OperatorRoutesDeps {
  readonly sessions: SessionClient | undefined;
  readonly groups: GatewayClient | undefined;
  readonly guard: (req: Request) => void;
  readonly log: Logger;
}

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;
/** Gateways call guests by the beginning of their session ids. */
const GUEST = /^guest:/;
const SOCKETS_OF_A_USER = 500;
const SOCKETS_OF_A_GROUP = 1_000;
const SHOWN_MEMBERS = 50;
const SHOWN_GROUPS = 100;
const GUEST_SESSIONS = 20;

export const operatorRefusals = {
  401: { description: 'no operator token, or a wrong one' },
  403: { description: 'this aggregator takes no orders, or has no key for this' },
  503: { description: 'nobody can tell just now' },
} as const;
const EVERY_TENANT = '*';
/** The tenant that an operator names. */
export const tenantQuery = z
  .string()
  .refine(isTenantName, 'must be the name of a tenant')
  .optional()
  .describe('default: the tenant of the key of this aggregator, `default` for a key for all tenants');
export const groupQuery = z.object({ tenant: tenantQuery });
export const groupParams = z.object({
  group: z.string().refine((text) => parseGroupName(text) !== undefined, 'must be the name of a group'),
});

/** What operators look up and do beyond instances: `/v1/operator/sessions` and `/v1/operator/groups`. Each request asks the services. */
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
    summary: 'Live sessions of a user, one by its id, or the newest, with their sockets on all gateways',
    description:
      '`tenant` is that of the user, or of the newest; a session is found by its id in every tenant.',
    query: z.object({ find: z.string().trim().max(255).default(''), tenant: tenantQuery }),
    guard: deps.guard,
    responses: {
      200: {
        description:
          'sessions; `silent` names gateways that did not answer, and `sockets` is null where they may have one; without it all are null when no gateway can tell. `onlyTenant` is the tenant that the server API key is bound to: sockets of others are null',
      },
      ...operatorRefusals,
    },
    handle: async ({ query: { find, tenant } }) => {
      const [{ devices, more }, sockets] = await lookUp(deps, find, tenant);
      const known = new Set(devices.map(({ id }) => id));
      return {
        status: 200,
        body: {
          items: devices.map((device) => ({ ...device, sockets: socketsOf(sockets, device) })),
          // Clients with tokens of another issuer have no session here.
          others: sockets?.sockets.filter(({ session }) => !known.has(session)) ?? null,
          more,
          gateways: sockets?.gateways ?? null,
          silent: sockets?.silent ?? null,
          onlyTenant: sockets?.onlyTenant ?? null,
        },
      };
    },
  });

/** Null when it is not known: none was found, and a gateway that may have one did not answer, or may not show it to our key. */
const socketsOf = (
  list: SocketList | undefined,
  { id, tenant }: Pick<DeviceInfo, 'id' | 'tenant'>,
): readonly SocketInfo[] | null => {
  const own = list?.sockets.filter(({ session }) => session === id) ?? [];
  const isShown = list?.onlyTenant === undefined || list.onlyTenant === tenant;
  return own.length > 0 || (list?.silent.length === 0 && isShown) ? own : null;
};

type Found = readonly [
  { readonly devices: readonly DeviceInfo[]; readonly more: boolean },
  SocketList | undefined,
];

const lookUp = async (deps: OperatorRoutesDeps, find: string, named: string | undefined): Promise<Found> => {
  const desk = required(deps.sessions, 'SERVICE_API_KEYS');
  const groups = required(deps.groups, 'SERVER_API_KEYS');
  // Sessions are worth showing without their sockets.
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
    return [await desk.find({ by: 'ids', ids: ids.slice(0, GUEST_SESSIONS) }), sockets];
  }
  if (UUID.test(find)) {
    const found = await desk.find({ by: 'ids', ids: [find.toLowerCase()] });
    return [found, await orUnknown(groups.socketsOf(found.devices.map(({ id }) => id)))];
  }
  const tenant = named ?? (await orUnknown(groups.onlyTenant()));
  if (find !== '') {
    const found = await desk.find({ by: 'user', user: find, tenant });
    const of = tenant ?? found.devices[0]?.tenant ?? DEFAULT_TENANT;
    return [found, await orUnknown(groups.sockets({ user: find, tenant: of }, SOCKETS_OF_A_USER))];
  }
  const found = await desk.find({ by: 'newest', tenant });
  return [found, await orUnknown(groups.socketsOf(found.devices.map(({ id }) => id)))];
};

const endSession = ({ sessions, guard, log }: OperatorRoutesDeps): Route =>
  route({
    method: 'delete',
    path: '/v1/operator/sessions/:id',
    summary: 'Sign a device out: its session ends and its sockets are closed',
    params: z.object({ id: z.string().regex(UUID).toLowerCase() }),
    query: z.object({ reason: z.string().trim().max(200).default('') }),
    guard,
    responses: {
      200: { description: 'ended; `everywhere` is false while some gateway has not heard of it yet' },
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
    summary: 'Groups with members, the largest first',
    query: z.object({
      pattern: z.string().trim().max(255).default(''),
      tenant: z
        .union([tenantQuery, z.literal(EVERY_TENANT)])
        .describe('as in the other routes, or `*` for all tenants that the key is for'),
    }),
    guard,
    responses: {
      200: {
        description:
          'at most 100 groups, and how many there are; members of gateways in `silent` are not counted. `onlyTenant` is the tenant that the server API key is bound to, else null',
      },
      ...operatorRefusals,
    },
    handle: async ({ query: { pattern, tenant: named } }) => {
      const desk = required(groups, 'SERVER_API_KEYS');
      // A word without wildcards is looked for anywhere in the name.
      const wanted = pattern === '' || /[*?]/.test(pattern) ? pattern : `*${pattern}*`;
      const { items, gateways, silent, onlyTenant } = await desk.list(
        wanted,
        await tenantOfQuery(desk, named),
      );
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
    summary: 'Members of a group by gateway, and the place of its last publication',
    params: groupParams,
    query: groupQuery,
    guard,
    responses: {
      200: {
        description:
          'at most 50 members by name; those of gateways in `silent` are missing, and `members` is null when nothing else is known; `position` is null where no history is kept',
      },
      404: { description: 'no namespace of this fleet fits this group' },
      ...operatorRefusals,
    },
    handle: async ({ params: { group }, query }) => {
      const desk = required(groups, 'SERVER_API_KEYS');
      const tenant = await tenantOfQuery(desk, query.tenant);
      const [{ sockets, more, gateways, silent, onlyTenant }, position] = await Promise.all([
        desk.sockets({ group, tenant }, SOCKETS_OF_A_GROUP),
        desk.position({ group, tenant }),
      ]);
      const byGateway = Map.groupBy(sockets, ({ gateway }) => gateway);
      return {
        status: 200,
        body: {
          ...{ group, tenant },
          // None that was found is not known to be none.
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
      201: { description: 'published; `position` is null where no history is kept' },
      404: { description: 'no namespace of this fleet fits this group' },
      422: { description: 'the body is not `{"data": …}`' },
      ...operatorRefusals,
    },
    handle: async ({ params: { group }, query, req, body: { data } }) => {
      const desk = required(groups, 'SERVER_API_KEYS');
      const tenant = await tenantOfQuery(desk, query.tenant);
      const key = readIdempotencyKey(req) ?? crypto.randomUUID();
      const position = await desk.publish({ group, tenant }, data, key);
      log.warn({ group, tenant, offset: position?.offset }, 'operator.published');
      return { status: 201, body: { group, tenant, position: position ?? null } };
    },
  });

/** The tenant that a request is about: the one that it names, else that of our key, else `default`. */
export const tenantOfQuery = async (desk: GatewayClient, named: string | undefined): Promise<string> =>
  named ?? (await desk.onlyTenant()) ?? DEFAULT_TENANT;

/** A desk that has its key. */
export const required = <T>(desk: T | undefined, variable: string): T => {
  if (desk !== undefined) return desk;
  throw new AppError('FORBIDDEN', { detail: `This aggregator has no ${variable}, which this needs.` });
};
