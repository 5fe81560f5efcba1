import { type Clock, every } from '@muster/kit/clock';
import type { Logger } from '@muster/kit/logger';
import { compareStreamIds } from '@muster/session/session-events';
import type { SessionId } from '@muster/session/token';
import type { EndedSession, Snapshots } from './ports.ts';

/** What the bus answered to a heartbeat. */
export interface HeartbeatReply {
  readonly epoch: string;
  /** Redis had no epoch: it was flushed, or is used for the first time. */
  readonly isNew: boolean;
  /** The last id of the change stream. */
  readonly top: string;
  /** Names of the present lives of all Redis servers. */
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

/** Beats the bus every second and notices when Redis lost its memory. */
export interface BusHeartbeat extends AsyncDisposable {
  /** Ms since the epoch of the last beat that Redis took; 0 before the first. */
  lastHeartbeatAt(): number;
}

const INTERVAL_MS = 1000;

/**
 * After a flush, a failover or a restart, tombstones may be gone while old snapshots are there, or still on their way
 * into Redis: the ends of the last quarter of an hour are written again.
 */
export const createBusHeartbeat = (deps: HeartbeatDeps): BusHeartbeat => {
  const { clock, log } = deps;
  let known: HeartbeatReply | undefined;
  let running: Promise<void> | undefined;
  let beatAt = 0;
  let mustReplay = false;

  const beatOnce = async (): Promise<void> => {
    const state = await deps.emitHeartbeat();
    beatAt = clock.now();
    mustReplay ||= hasLostData(known, state);
    known = state;
    if (!mustReplay) return;
    const count = await replay(deps);
    mustReplay = false;
    log.warn({ count, epoch: state.epoch }, 'session.bus_replayed');
  };
  const stop = every(INTERVAL_MS, () => {
    running ??= beatOnce()
      .catch((error: unknown) => log.debug({ error }, 'session.bus_heartbeat_failed'))
      .finally(() => {
        running = undefined;
      });
  });
  return {
    lastHeartbeatAt: () => beatAt,
    [Symbol.asyncDispose]: async () => {
      stop();
      await running;
    },
  };
};

/** True when Redis may no longer know all that it had acknowledged. What it lost, later writes may have covered up. */
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
