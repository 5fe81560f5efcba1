import { AppError } from '@muster/protocol/errors';
import type { GroupDesk, GroupPosition, SocketList, SocketView } from '../core/operator-ports.ts';
import type { Upstream } from './upstream.ts';

const RETRY_AFTER_S = 2;
/** Codes of the server API that mean something to an operator. */
const UNKNOWN_GROUP = 102;
const BAD_REQUEST = 107;
const NOT_AVAILABLE = 108;
/** A session has a handful of sockets. */
const SOCKETS_OF_A_SESSION = 100;

/** A connection as the server API tells it. */
interface ConnectionBody {
  readonly client: string;
  readonly user: string;
  readonly session: string;
  readonly gateway: string;
  readonly transport: string;
  readonly groups: readonly string[];
  /** ms since the epoch. */
  readonly since: number;
  readonly lag: number;
}

interface ConnectionsBody {
  readonly connections: readonly ConnectionBody[];
  readonly gateways: number;
}

/** What every method of the server API answers. */
interface ApiBody<T> {
  readonly result?: T;
  readonly error?: { readonly code: number };
}

/** Speaks with the gateways by their server API; whichever answers speaks for all. */
export const createGroupDesk = ({ ask }: Upstream): GroupDesk => {
  const call = <T>(method: string, body: object): Promise<ApiBody<T>> =>
    ask<ApiBody<T>>({ method: 'POST', path: `/api/${method}`, body });
  return {
    sockets: async ({ user, group }, limit) => {
      const where = {
        ...(user === undefined ? {} : { user }),
        ...(group === undefined ? {} : { channel: group }),
      };
      // One more than wanted tells whether there are more.
      return listOf(
        resultOf(await call<ConnectionsBody>('connections', { ...where, limit: limit + 1 })),
        limit,
      );
    },
    socketsOf: async (sessions) => {
      if (sessions.length === 0) return { sockets: [], gateways: 0, more: false };
      const commands = sessions.map((session) => ({
        connections: { session, limit: SOCKETS_OF_A_SESSION },
      }));
      const { replies } = await ask<{ replies: readonly { connections?: ConnectionsBody }[] }>({
        method: 'POST',
        path: '/api/batch',
        body: { parallel: true, commands },
      });
      const lists = replies.flatMap(({ connections }) => (connections ? [connections] : []));
      return {
        sockets: lists.flatMap(({ connections }) => connections.map(socketOf)),
        gateways: Math.max(0, ...lists.map(({ gateways }) => gateways)),
        more: false,
      };
    },
    list: async (pattern) => {
      const { channels } = resultOf(
        await call<{ channels: Record<string, { num_clients: number }> }>('channels', { pattern }),
      );
      return Object.entries(channels)
        .map(([group, { num_clients: members }]) => ({ group, members }))
        .sort((a, b) => b.members - a.members || a.group.localeCompare(b.group));
    },
    position: async (group) => {
      const answer = await call<GroupPosition>('history', { channel: group, limit: 0 });
      if (answer.error?.code === NOT_AVAILABLE) return undefined;
      const { offset, epoch } = resultOf(answer);
      return { offset: offset ?? 0, epoch };
    },
    publish: async (group, data) => {
      // The key makes a second try harmless.
      const body = { channel: group, data, idempotency_key: crypto.randomUUID() };
      const { offset, epoch } = resultOf(await call<Partial<GroupPosition>>('publish', body));
      return offset === undefined || epoch === undefined ? undefined : { offset, epoch };
    },
  };
};

const listOf = ({ connections, gateways }: ConnectionsBody, limit: number): SocketList => ({
  sockets: connections.slice(0, limit).map(socketOf),
  gateways,
  more: connections.length > limit,
});

const socketOf = ({ since, lag, ...rest }: ConnectionBody): SocketView => ({
  ...rest,
  openedAt: new Date(since).toISOString(),
  lagBytes: lag,
});

const resultOf = <T>({ result, error }: ApiBody<T>): T => {
  if (result !== undefined) return result;
  switch (error?.code) {
    case UNKNOWN_GROUP:
      throw new AppError('NOT_FOUND', { detail: 'No namespace of this fleet fits this group.' });
    case BAD_REQUEST:
      throw new AppError('MALFORMED_REQUEST', { detail: 'The gateway does not accept this.' });
    default:
      throw new AppError('OVERLOADED', {
        detail: 'The gateway cannot do this just now.',
        retryAfterS: RETRY_AFTER_S,
      });
  }
};
