import { AppError } from '@muster/protocol/errors';
import type {
  ChannelsResult,
  ConnectionInfo,
  ConnectionsResult,
  InfoResult,
  ServerApiError,
  ServerApiResponse,
} from '@muster/protocol/server-api';
import type {
  GatewayAnswers,
  GatewayClient,
  GroupStreamPosition,
  SocketInfo,
} from '../core/operator-ports.ts';
import type { UpstreamClient } from './upstream.ts';

const RETRY_AFTER_S = 2;
/** Codes of the server API that mean something to an operator. */
const UNKNOWN_GROUP = 102;
const PERMISSION_DENIED = 103;
const BAD_REQUEST = 107;
const NOT_AVAILABLE = 108;
/** In the place of a tenant: all. */
const EVERY_TENANT = '*';
/** A session has a handful of sockets. */
const SOCKETS_OF_A_SESSION = 100;

/** One reply of a batch. */
interface BatchReply {
  readonly connections?: ConnectionsResult | undefined;
  readonly error?: ServerApiError | undefined;
}

/** The server API of the gateways, and what it says of our key; whichever gateway answers speaks for all. */
const createServerApiClient = ({ request: ask, names }: Pick<UpstreamClient, 'request' | 'names'>) => {
  const call = <T>(method: string, body: object): Promise<ServerApiResponse<T>> =>
    ask<ServerApiResponse<T>>({ method: 'POST', path: `/api/${method}`, body });
  /** What the last answer said of our key. */
  let key: { readonly onlyTenant: string | undefined } | undefined;
  const info = async (): Promise<InfoResult> => {
    const answer = resultOf(await call<InfoResult>('info', {}));
    key = { onlyTenant: answer.tenant };
    return answer;
  };
  const onlyTenant = async (): Promise<string | undefined> => (key ? key.onlyTenant : (await info()).tenant);
  /** `*` for a key that is good for all tenants, else its own. */
  const widest = async (): Promise<string> => (await onlyTenant()) ?? EVERY_TENANT;
  /** Every gateway is asked for its name besides: a list of sockets does not tell who has none. */
  const withAnswered = async <T>(work: Promise<T>): Promise<readonly [T, GatewayAnswers]> => {
    const [result, { nodes, tenant }] = await Promise.all([work, info()]);
    const answered = new Set(nodes.map(({ name }) => name));
    const silent = names().filter((name) => !answered.has(name));
    return [result, { gateways: nodes.length, silent, onlyTenant: tenant }];
  };
  return { call, onlyTenant, widest, withAnswered };
};

/** Speaks with the gateways by their server API. */
export const createGatewayClient = (upstream: UpstreamClient): GatewayClient => {
  const { request: ask } = upstream;
  const { call, onlyTenant, widest, withAnswered } = createServerApiClient(upstream);
  return {
    onlyTenant,
    sockets: async ({ user, group, tenant }, limit) => {
      const where = {
        ...(user === undefined ? {} : { user }),
        ...(group === undefined ? {} : { channel: group }),
        tenant: tenant ?? (await widest()),
      };
      // One more than wanted tells whether there are more.
      const asked = call<ConnectionsResult>('connections', { ...where, limit: limit + 1 }).then(resultOf);
      const [{ connections }, answered] = await withAnswered(asked);
      return {
        sockets: connections.slice(0, limit).map(socketOf),
        more: connections.length > limit,
        ...answered,
      };
    },
    socketsOf: async (sessions) => {
      const tenant = await widest();
      const commands = sessions.map((session) => ({
        connections: { session, tenant, limit: SOCKETS_OF_A_SESSION },
      }));
      const asked =
        commands.length === 0
          ? Promise.resolve({ replies: [] })
          : ask<{ replies: readonly BatchReply[] }>({
              method: 'POST',
              path: '/api/batch',
              body: { parallel: true, commands },
            });
      const [{ replies }, answered] = await withAnswered(asked);
      // A reply that is an error is not an empty one.
      const lists = replies.map(({ connections: result, error }) => resultOf({ result, error }));
      return {
        sockets: lists.flatMap(({ connections }) => connections.map(socketOf)),
        more: false,
        ...answered,
      };
    },
    list: async (pattern, tenant) => {
      const of = tenant === EVERY_TENANT ? await widest() : tenant;
      const asked = call<ChannelsResult>('channels', { pattern, tenant: of });
      const [{ channels }, answered] = await withAnswered(asked.then(resultOf));
      const items = Object.entries(channels)
        .flatMap(([group, { num_clients, tenants = { [of]: num_clients } }]) =>
          Object.entries(tenants).map(([owner, members]) => ({ group, tenant: owner, members })),
        )
        .sort(
          (a, b) =>
            b.members - a.members || a.group.localeCompare(b.group) || a.tenant.localeCompare(b.tenant),
        );
      return { items, ...answered };
    },
    position: async ({ group, tenant }) => {
      const answer = await call<GroupStreamPosition>('history', { channel: group, tenant, limit: 0 });
      if (answer.error?.code === NOT_AVAILABLE) return undefined;
      const { offset, epoch } = resultOf(answer);
      return { offset: offset ?? 0, epoch };
    },
    publish: async ({ group, tenant }, data, idempotencyKey) => {
      // The key makes a second try harmless.
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
  switch (error?.code) {
    case UNKNOWN_GROUP:
      throw new AppError('NOT_FOUND', { detail: 'No namespace of this fleet fits this group.' });
    case PERMISSION_DENIED:
      throw new AppError('FORBIDDEN', {
        detail:
          'The server API key of this aggregator is for another tenant only: name that tenant, or give SERVER_API_KEYS a key for all tenants.',
      });
    case BAD_REQUEST:
      throw new AppError('MALFORMED_REQUEST', { detail: 'The gateway does not accept this.' });
    default:
      throw new AppError('OVERLOADED', {
        detail: 'The gateway cannot do this just now.',
        retryAfterS: RETRY_AFTER_S,
      });
  }
};
