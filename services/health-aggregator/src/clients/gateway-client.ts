import { AppError } from '@muster/protocol/errors';
import type {
  ChannelsResult,
  ConnectionInfo,
  ConnectionsResult,
  InfoResult,
  ServerApiError,
  ServerApiResponse,
} from '@muster/protocol/server-api';
import type { GatewayAnswers, GatewayClient, GroupStreamPosition, SocketInfo } from '../core/operator-ports.ts';
import type { UpstreamClient } from './upstream.ts';

const RETRY_AFTER_S = 2;
/** Error codes of the server API. */
const UNKNOWN_GROUP = 102;
const PERMISSION_DENIED = 103;
const BAD_REQUEST = 107;
const NOT_AVAILABLE = 108;
const OTHER_TENANT =
  'The server API key of this aggregator is bound to another tenant. Name that tenant, or set SERVER_API_KEYS to a key of all tenants.';
/** Errors for operators, by error code. */
const FAULTS = new Map<number | undefined, ConstructorParameters<typeof AppError>>([
  [UNKNOWN_GROUP, ['NOT_FOUND', { detail: 'No namespace of this fleet matches this group.' }]],
  [PERMISSION_DENIED, ['FORBIDDEN', { detail: OTHER_TENANT }]],
  [BAD_REQUEST, ['MALFORMED_REQUEST', { detail: 'The gateway rejected the parameters.' }]],
]);
/** All tenants, in the parameter `tenant`. */
const EVERY_TENANT = '*';
/** Limit of connections of one session. */
const SOCKETS_OF_A_SESSION = 100;

/** A reply in a batch. */
interface BatchReply {
  readonly connections?: ConnectionsResult | undefined;
  readonly error?: ServerApiError | undefined;
}

/** Calls of the server API; any gateway responds for all of them. */
const createServerApiClient = ({ request, names }: Pick<UpstreamClient, 'request' | 'names'>) => {
  const call = <T>(method: string, body: object): Promise<ServerApiResponse<T>> =>
    request<ServerApiResponse<T>>({ method: 'POST', path: `/api/${method}`, body });
  /** Tenant of the API key, by the last response. */
  let key: { readonly onlyTenant: string | undefined } | undefined;
  const info = async (): Promise<InfoResult> => {
    const result = resultOf(await call<InfoResult>('info', {}));
    key = { onlyTenant: result.tenant };
    return result;
  };
  const onlyTenant = async (): Promise<string | undefined> => (key ? key.onlyTenant : (await info()).tenant);
  /** `*` for a key of all tenants, else its tenant. */
  const widest = async (): Promise<string> => (await onlyTenant()) ?? EVERY_TENANT;
  /** Requests `info` as well: a gateway without connections is missing in other results. */
  const withGateways = async <T>(work: Promise<T>): Promise<readonly [T, GatewayAnswers]> => {
    const [result, { nodes, tenant }] = await Promise.all([work, info()]);
    const responded = new Set(nodes.map(({ name }) => name));
    const silent = names().filter((name) => !responded.has(name));
    return [result, { gateways: nodes.length, silent, onlyTenant: tenant }];
  };
  return { call, onlyTenant, widest, withGateways };
};

/** Client of the server API of the gateways. */
export const createGatewayClient = (upstream: UpstreamClient): GatewayClient => {
  const { request } = upstream;
  const { call, onlyTenant, widest, withGateways } = createServerApiClient(upstream);
  return {
    onlyTenant,
    sockets: async ({ user, group, tenant }, limit) => {
      const where = {
        ...(user === undefined ? {} : { user }),
        ...(group === undefined ? {} : { channel: group }),
        tenant: tenant ?? (await widest()),
      };
      // One more than the limit shows whether there are more.
      const requested = call<ConnectionsResult>('connections', { ...where, limit: limit + 1 }).then(resultOf);
      const [{ connections }, gateways] = await withGateways(requested);
      return {
        sockets: connections.slice(0, limit).map(socketOf),
        more: connections.length > limit,
        ...gateways,
      };
    },
    socketsOf: async (sessions) => {
      const tenant = await widest();
      const commands = sessions.map((session) => ({
        connections: { session, tenant, limit: SOCKETS_OF_A_SESSION },
      }));
      const requested =
        commands.length === 0
          ? Promise.resolve({ replies: [] })
          : request<{ replies: readonly BatchReply[] }>({
              method: 'POST',
              path: '/api/batch',
              body: { parallel: true, commands },
            });
      const [{ replies }, gateways] = await withGateways(requested);
      // An error in a reply is not an empty list.
      const lists = replies.map(({ connections: result, error }) => resultOf({ result, error }));
      return {
        sockets: lists.flatMap(({ connections }) => connections.map(socketOf)),
        more: false,
        ...gateways,
      };
    },
    list: async (pattern, tenant) => {
      const of = tenant === EVERY_TENANT ? await widest() : tenant;
      const requested = call<ChannelsResult>('channels', { pattern, tenant: of });
      const [{ channels }, gateways] = await withGateways(requested.then(resultOf));
      const items = Object.entries(channels)
        .flatMap(([group, { num_clients, tenants = { [of]: num_clients } }]) =>
          Object.entries(tenants).map(([owner, members]) => ({ group, tenant: owner, members })),
        )
        .sort((a, b) => b.members - a.members || a.group.localeCompare(b.group) || a.tenant.localeCompare(b.tenant));
      return { items, ...gateways };
    },
    position: async ({ group, tenant }) => {
      const response = await call<GroupStreamPosition>('history', { channel: group, tenant, limit: 0 });
      if (response.error?.code === NOT_AVAILABLE) return undefined;
      const { offset, epoch } = resultOf(response);
      return { offset: offset ?? 0, epoch };
    },
    publish: async ({ group, tenant }, data, idempotencyKey) => {
      // With the key a retry is idempotent.
      const body = { channel: group, tenant, data, idempotency_key: idempotencyKey };
      const { offset, epoch } = resultOf(await call<Partial<GroupStreamPosition>>('publish', body));
      return offset === undefined || epoch === undefined ? undefined : { offset, epoch };
    },
  };
};

const socketOf = ({ since, lag, ...rest }: ConnectionInfo): SocketInfo => ({
  ...rest,
  openedAt: new Date(since).toISOString(),
  lagBytes: lag,
});

const resultOf = <T>({ result, error }: ServerApiResponse<T>): T => {
  if (result !== undefined) return result;
  const fault = FAULTS.get(error?.code);
  if (fault) throw new AppError(...fault);
  const detail = 'The gateway cannot process this request now. Retry in a few seconds.';
  throw new AppError('OVERLOADED', { detail, retryAfterS: RETRY_AFTER_S });
};
