import type { RouteReply } from '@muster/http/route';
import { readCursor, writeCursor } from '../core/cursor.ts';
import type { SessionRecord } from '../core/session.ts';
import type { HttpContext } from './context.ts';
import { sessionDto } from './session-dto.ts';

type Position = ReturnType<typeof readCursor>;

interface PageOptions {
  /** Path of the list, for the `Link` header. */
  readonly path: string;
  /** Everything but the position: a cursor is good for this filter only. */
  readonly filter: unknown;
  readonly cursor: string | undefined;
  readonly limit: number;
  /** The session of the request, if there is one. */
  readonly current?: string;
  /** Reads one more than `limit`, to know whether there is a next page. */
  readonly read: (after: Position | undefined, limit: number) => Promise<readonly SessionRecord[]>;
}

/** A page of sessions by keyset: nothing is skipped and nothing repeated while rows come and go. */
export const sessionPage = async (
  { keys, presence }: HttpContext,
  options: PageOptions,
): Promise<RouteReply> => {
  const filter = JSON.stringify(options.filter);
  const after = options.cursor === undefined ? undefined : readCursor(keys, filter, options.cursor);
  const found = await options.read(after, options.limit + 1);
  const items = found.slice(0, options.limit);
  const sockets = await presence.socketsOf(items.map(({ id }) => id));
  const last = items.at(-1);
  const next = found.length > items.length && last ? writeCursor(keys, filter, last) : null;
  return {
    status: 200,
    headers:
      next === null ? {} : { Link: `<${options.path}?cursor=${next}&limit=${options.limit}>; rel="next"` },
    body: {
      items: items.map((one, at) =>
        sessionDto(one, {
          current: one.id === options.current,
          withData: false,
          sockets: sockets[at] ?? null,
        }),
      ),
      next,
    },
  };
};
