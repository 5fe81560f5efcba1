import type { Clock } from '@muster/kit/clock';
import type { Logger } from '@muster/kit/logger';
import type { RedisConnections } from '@muster/kit/redis/connection';
import { createTouchBuffer, createTouchThrottle } from '@muster/session/activity';
import type { Snapshot } from '@muster/session/session-snapshot';

export interface SessionActivityDeps {
  readonly redis: RedisConnections;
  readonly clock: Clock;
  readonly log: Logger;
}

/** Sessions of this level stay alive by an open socket alone; above it, a person must do something. */
const CONNECTED_COUNTS_UP_TO_AAL = 1;

/** Tells that sessions with an open socket are in use, so that they do not run out for idleness. */
export const createSessionActivity = ({ redis, clock, log }: SessionActivityDeps) => {
  const buffer = createTouchBuffer({ redis });
  const throttle = createTouchThrottle({ clock });
  return (snapshots: readonly Snapshot[]): void => {
    const at = clock.now();
    const due = snapshots.filter((one) => one.aal <= CONNECTED_COUNTS_UP_TO_AAL && throttle.admits(one));
    if (due.length === 0) return;
    buffer
      .add(due.map(({ id }) => ({ id, at })))
      .catch((error: unknown) => log.debug({ error }, 'session.touch_failed'));
  };
};
