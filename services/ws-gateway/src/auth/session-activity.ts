import { type Clock, every } from '@muster/kit/clock';
import type { Logger } from '@muster/kit/logger';
import { createPeriodicJob } from '@muster/kit/periodic-job';
import type { RedisConnections } from '@muster/kit/redis/connection';
import { createTouchBuffer, createTouchThrottle } from '@muster/session/activity';
import { PRESENCE_RENEW_MS, writeSessionPresence } from '@muster/session/session-presence';
import type { Snapshot } from '@muster/session/session-snapshot';
import type { SessionRegistry } from './session-registry.ts';

interface SessionActivityDeps {
  readonly redis: RedisConnections;
  readonly clock: Clock;
  readonly log: Logger;
}

/** Highest authentication level at which an open socket alone counts as activity. */
const MAX_SOCKET_ACTIVITY_AAL = 1;

/** Records activity of sessions with an open socket, so that they do not expire for idleness. */
export const createSessionActivity = ({ redis, clock, log }: SessionActivityDeps) => {
  const buffer = createTouchBuffer({ redis });
  const throttle = createTouchThrottle({ clock });
  return (snapshots: readonly Snapshot[]): void => {
    const at = clock.now();
    const due = snapshots.filter((one) => one.aal <= MAX_SOCKET_ACTIVITY_AAL && throttle.admits(one));
    if (due.length === 0) return;
    buffer
      .add(due.map(({ id }) => ({ id, at })))
      .catch((error: unknown) => log.debug({ error }, 'session.touch_failed'));
  };
};

interface SessionPresenceDeps {
  readonly redis: RedisConnections;
  readonly registry: Pick<SessionRegistry, 'takeChanged' | 'markChanged' | 'count' | 'ids'>;
  /** Id of this process in the registry of instances. */
  readonly gateway: string;
  readonly log: Logger;
}

const FLUSH_MS = 200;
/** Sessions written per flush: bounds the burst when all of them are renewed. */
const BATCH = 1_000;

/** Writes to Redis how many sockets each session has at this gateway: changes within 200 ms, all sessions every 45 s. */
export const createSessionPresenceWriter = (deps: SessionPresenceDeps): AsyncDisposable => {
  const { redis, registry, gateway, log } = deps;

  const flush = async (): Promise<void> => {
    const ids = registry.takeChanged(BATCH);
    if (ids.length === 0) return;
    try {
      const counts = ids.map((id) => [id, registry.count(id)] as const);
      await writeSessionPresence(redis, gateway, counts);
    } catch (error) {
      registry.markChanged(ids);
      log.debug({ error }, 'session.presence_failed');
    }
  };
  const job = createPeriodicJob(FLUSH_MS, flush);
  const stop = every(PRESENCE_RENEW_MS, () => registry.markChanged(registry.ids()));
  return {
    [Symbol.asyncDispose]: async () => {
      stop();
      await job[Symbol.asyncDispose]();
      // Removes the entries now instead of at their expiry. They are ignored anyway once this process sends no heartbeat.
      await flush();
    },
  };
};
