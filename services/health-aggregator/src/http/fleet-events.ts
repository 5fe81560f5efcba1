import type { ServerResponse } from 'node:http';
import { every } from '@muster/kit/clock';
import type { Random } from '@muster/kit/runtime';
import { type FleetSnapshot, pulseOf } from '../core/fleet-snapshot.ts';

const TICK_MS = 1_000;
const COMMENT_EVERY_TICKS = 15;
const MAX_BUFFERED_BYTES = 1_048_576;
const RETRY_MIN_MS = 2_000;
const RETRY_SPREAD_MS = 4_000;

/** All open `/v1/fleet/events` streams; disposing closes them. */
export type FleetEvents = ReturnType<typeof createFleetEvents>;

interface FleetEventsDeps {
  readonly snapshot: () => FleetSnapshot;
  readonly random: Random;
  readonly maxStreams: number;
  /** Interval of events, ms; for tests. */
  readonly tickMs?: number;
}

/**
 * Server-sent events: `snapshot` at once and after every change, at most one per second; otherwise `pulse` with ages. Each event is
 * encoded once for all clients. A client that does not read is dropped at 1 MiB.
 */
export const createFleetEvents = (deps: FleetEventsDeps) => {
  const { snapshot, random, maxStreams } = deps;
  const clients = new Set<ServerResponse>();
  let sentVersion = -1;
  let ticks = 0;

  const write = (client: ServerResponse, text: string): void => {
    if (client.writableLength > MAX_BUFFERED_BYTES) client.destroy();
    else client.write(text);
  };
  const tick = (): void => {
    if (clients.size === 0) return;
    ticks += 1;
    const current = snapshot();
    const text = current.version === sentVersion ? pulseText(current) : snapshotText(current);
    sentVersion = current.version;
    const comment = ticks % COMMENT_EVERY_TICKS === 0 ? ': keep-alive\n\n' : '';
    for (const client of clients) write(client, comment + text);
  };
  const stop = every(deps.tickMs ?? TICK_MS, tick);

  return {
    get size(): number {
      return clients.size;
    },
    /** Opens a stream with a snapshot; false at the limit. */
    open: (res: ServerResponse): boolean => {
      if (clients.size >= maxStreams) return false;
      res.writeHead(200, {
        'content-type': 'text/event-stream; charset=utf-8',
        'cache-control': 'no-store',
        'x-accel-buffering': 'no',
      });
      const retryMs = Math.round(RETRY_MIN_MS + random.fraction() * RETRY_SPREAD_MS);
      res.write(`retry: ${retryMs}\n\n${snapshotText(snapshot())}`);
      clients.add(res);
      res.once('close', () => clients.delete(res));
      return true;
    },
    [Symbol.dispose]: () => {
      stop();
      for (const client of clients) client.end();
      clients.clear();
    },
  };
};

const snapshotText = (snapshot: FleetSnapshot): string =>
  `event: snapshot\nid: ${snapshot.version}\ndata: ${JSON.stringify(snapshot)}\n\n`;

const pulseText = (snapshot: FleetSnapshot): string => `event: pulse\ndata: ${JSON.stringify(pulseOf(snapshot))}\n\n`;
