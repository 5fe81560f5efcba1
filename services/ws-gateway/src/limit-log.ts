import type { Clock } from '@muster/kit/clock';
import type { Logger } from '@muster/kit/logger';

/** Who reached a limit, as far as it is known. */
export interface LimitedClient {
  readonly user?: string | undefined;
  readonly session?: string | undefined;
  readonly address?: string | undefined;
}

/** Milliseconds between two lines about the same limit. */
const PAUSE_MS = 10_000;

/**
 * Logs refusals by limits as `gateway.limit_reached`: the first at once, then one line in ten seconds for each limit, with
 * the number of refusals since the last line, so that a client in a loop cannot fill the log.
 */
export const createLimitLog = (
  log: Logger,
  clock: Clock,
): ((limit: string, client: LimitedClient) => void) => {
  const lines = new Map<string, { at: number; since: number }>();
  return (limit, client) => {
    const now = clock.monotonic();
    const line = lines.get(limit) ?? { at: Number.NEGATIVE_INFINITY, since: 0 };
    lines.set(limit, line);
    line.since += 1;
    if (now - line.at < PAUSE_MS) return;
    log.info({ limit, ...client, refusals: line.since }, 'gateway.limit_reached');
    line.at = now;
    line.since = 0;
  };
};
