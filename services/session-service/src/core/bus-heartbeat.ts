import type { Clock } from '@muster/kit/clock';
import type { Logger } from '@muster/kit/logger';
import { createPeriodicJob } from '@muster/kit/periodic-job';
import { compareStreamIds } from '@muster/session/session-events';
import type { SessionId } from '@muster/session/token';
import type { EndedSession, Snapshots } from './ports.ts';

/** The state of the bus after a heartbeat. */
export interface HeartbeatReply {
  readonly epoch: string;
  /** True if Redis had no epoch: it was flushed, or is used for the first time. */
  readonly isNew: boolean;
  /** Last id of the change stream. */
  readonly top: string;
  /** Run ids of all Redis servers; a restart or failover changes them. */
  readonly servers: readonly string[];
}

interface HeartbeatDeps {
  readonly clock: Clock;
  readonly log: Logger;
  readonly emitHeartbeat: () => Promise<HeartbeatReply>;
  /** Sessions that ended within the replay window, 15 minutes. */
  readonly recentlyEnded: () => Promise<(EndedSession & { readonly why: string })[]>;
  readonly snapshots: Pick<Snapshots, 'tomb'>;
  readonly emit: (ids: readonly SessionId[], why: string) => Promise<unknown>;
}

const INTERVAL_MS = 1000;

/**
 * Emits a heartbeat on the session bus every second and detects when Redis lost data. After a flush, failover or
 * restart, tombstones may be missing while old snapshots remain or arrive later: the ends of the last 15 minutes are
 * written again.
 */
export const createBusHeartbeat = (deps: HeartbeatDeps) => {
  const { clock, log } = deps;
  let previous: HeartbeatReply | undefined;
  let lastAt = 0;
  let mustReplay = false;

  const sendHeartbeat = async (): Promise<void> => {
    const state = await deps.emitHeartbeat();
    lastAt = clock.now();
    mustReplay ||= hasLostData(previous, state);
    previous = state;
    if (!mustReplay) return;
    const count = await replay(deps);
    mustReplay = false;
    log.warn({ count, epoch: state.epoch }, 'session.bus_replayed');
  };
  const job = createPeriodicJob(INTERVAL_MS, () =>
    sendHeartbeat().catch((error: unknown) => log.debug({ error }, 'session.bus_heartbeat_failed')),
  );
  return {
    /** Ms since the epoch of the last heartbeat that Redis acknowledged; 0 before the first. */
    lastHeartbeatAt: (): number => lastAt,
    [Symbol.asyncDispose]: job[Symbol.asyncDispose],
  };
};

/** True if Redis may have lost acknowledged writes, even where later writes hide the loss. */
export const hasLostData = (before: HeartbeatReply | undefined, now: HeartbeatReply): boolean => {
  if (now.isNew || before === undefined) return now.isNew;
  if (before.epoch !== now.epoch || compareStreamIds(now.top, before.top) < 0) return true;
  return now.servers.some((server) => !before.servers.includes(server));
};

const replay = async (deps: HeartbeatDeps): Promise<number> => {
  const ended = await deps.recentlyEnded();
  for (const [why, group] of Map.groupBy(ended, (one) => one.why)) {
    for (let at = 0; at < group.length; at += 500) {
      const part = group.slice(at, at + 500);
      await Promise.all(part.map((one) => deps.snapshots.tomb(one.id, one.rev, one.why, one.tenant)));
      await deps.emit(
        part.map((one) => one.id),
        why,
      );
    }
  }
  return ended.length;
};
