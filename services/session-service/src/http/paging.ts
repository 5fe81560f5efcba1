import type { RouteReply } from '@muster/http/route';
import type { z } from 'zod';
import { type Position, readCursor, writeCursor } from '../core/cursor.ts';
import type { SessionRecord } from '../core/session-record.ts';
import type { HttpContext } from './context.ts';
import type { listQuery } from './schemas.ts';
import { sessionDto } from './session-dto.ts';

interface PageOptions {
  /** Path of the list, for the `Link` header. */
  readonly path: string;
  /** All parameters but the position; a cursor is valid for this filter only. */
  readonly filter: unknown;
  readonly cursor: string | undefined;
  readonly limit: number;
  /** The session of the request. */
  readonly current?: string | undefined;
  /** Reads up to `limit` sessions; `limit` is one more than a page, to detect the next page. */
  readonly read: (after: Position | undefined, limit: number) => Promise<readonly SessionRecord[]>;
}

/** A page of sessions by keyset: concurrent changes neither skip nor repeat entries. */
export const sessionPage = async ({ keys, presence }: HttpContext, options: PageOptions): Promise<RouteReply> => {
  const filter = JSON.stringify(options.filter);
  const after = options.cursor === undefined ? undefined : readCursor(keys, filter, options.cursor);
  const found = await options.read(after, options.limit + 1);
  const items = found.slice(0, options.limit);
  const sockets = await presence.socketsOf(items.map(({ id }) => id));
  const last = items.at(-1);
  const next = found.length > items.length && last ? writeCursor(keys, filter, last) : null;
  return {
    status: 200,
    headers: next === null ? {} : { Link: `<${options.path}?cursor=${next}&limit=${options.limit}>; rel="next"` },
    body: {
      items: items.map((session, at) =>
        sessionDto(session, {
          current: session.id === options.current,
          withData: false,
          sockets: sockets[at] ?? null,
        }),
      ),
      next,
    },
  };
};

/** A page of the sessions of one user. */
export const listPage = (
  context: HttpContext,
  list: {
    readonly path: string;
    readonly tenant: string;
    readonly userId: string;
    readonly query: z.output<typeof listQuery>;
    readonly current?: string;
  },
): Promise<RouteReply> => {
  const { path, tenant, userId, query, current } = list;
  const { state, cursor, limit } = query;
  return sessionPage(context, {
    path,
    filter: [tenant, userId, state],
    cursor,
    limit,
    current,
    read: (after, count) => context.sessions.list({ tenant, userId, state, limit: count, after }),
  });
};
