import type { ServerResponse } from 'node:http';
import { every } from '@muster/kit/clock';
import type { Logger } from '@muster/kit/logger';
import { AppError } from '@muster/protocol/errors';
import { parseGroupName } from '@muster/protocol/ids';
import type { Express, Request } from 'express';
import type { GatewayClient } from '../core/operator-ports.ts';
import type { GroupStreamListener, GroupStreams } from '../jobs/group-streams.ts';
import { onlyGet } from './console-assets.ts';
import { required, tenantOfQuery, tenantQuery } from './operator-routes.ts';

/** A load balancer notices with the next write that the reader has left. */
const COMMENT_MS = 5_000;
const MAX_BUFFERED_BYTES = 1_048_576;
const RETRY_AFTER_S = 10;

/** What the route needs; without keys there are no tails. */
export interface GroupStreamRouteDeps {
  readonly tails: GroupStreams | undefined;
  readonly groups: GatewayClient | undefined;
  readonly guard: (req: Request) => void;
  readonly log: Logger;
}

/**
 * `GET /v1/operator/groups/:group/tail`: server-sent events `joined`, `publication` and at last `end`. A reader that does not
 * keep up is dropped at 1 MiB.
 */
export const mountGroupStream = (app: Express, { tails, groups, guard, log }: GroupStreamRouteDeps): void => {
  app
    .route('/v1/operator/groups/:group/tail')
    .get(async (req, res) => {
      guard(req);
      const group = parseGroupName(String(req.params['group']));
      if (group === undefined)
        throw new AppError('MALFORMED_REQUEST', { detail: 'This is no name of a group.' });
      const query = tenantQuery.safeParse(req.query['tenant']);
      if (!query.success)
        throw new AppError('MALFORMED_REQUEST', { detail: '`tenant` must be the name of a tenant.' });
      const open = required(tails, 'SERVICE_API_KEYS or SERVER_API_KEYS').open;
      const tenant = await tenantOfQuery(required(groups, 'SERVER_API_KEYS'), query.data);
      const stream = createStream(res);
      const tail = await open({ group, tenant }, stream.listener);
      if (tail === undefined) {
        throw new AppError('OVERLOADED', {
          detail: 'Too many operators listen.',
          retryAfterS: RETRY_AFTER_S,
        });
      }
      log.warn({ group, tenant }, 'operator.group_stream_opened');
      stream.begin(tail);
    })
    .all(onlyGet);
};

interface TailStream {
  readonly listener: GroupStreamListener;
  /** Sends the head, what was heard already, and everything from now on, until the reader leaves. */
  begin(tail: Disposable): void;
}

const createStream = (res: ServerResponse): TailStream => {
  const early: string[] = [];
  let isOpen = false;
  let isOver = false;

  const write = (text: string): void => {
    if (!isOpen) early.push(text);
    else if (res.writableLength > MAX_BUFFERED_BYTES) res.destroy();
    else res.write(text);
  };
  const event = (name: string, data: unknown): void =>
    write(`event: ${name}\ndata: ${JSON.stringify(data)}\n\n`);
  return {
    listener: {
      joined: (gateway) => event('joined', { gateway }),
      published: (pub) => event('publication', pub),
      ended: (why) => {
        event('end', { why });
        isOver = true;
        if (isOpen) res.end();
      },
    },
    begin: (tail) => {
      // Whoever left while we were getting ready hears nothing.
      if (res.destroyed) return tail[Symbol.dispose]();
      res.writeHead(200, {
        'content-type': 'text/event-stream; charset=utf-8',
        'cache-control': 'no-store',
        'x-accel-buffering': 'no',
      });
      isOpen = true;
      res.write(early.join(''));
      if (isOver) return void res.end();
      const stop = every(COMMENT_MS, () => write(': still here\n\n'));
      res.once('close', () => {
        stop();
        tail[Symbol.dispose]();
      });
    },
  };
};
