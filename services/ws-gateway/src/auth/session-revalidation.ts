import { every, type Stop } from '@muster/kit/clock';
import type { Snapshot } from '@muster/session/session-snapshot';
import type { SessionSource } from '@muster/session/session-source';
import type { SessionId } from '@muster/session/token';
import { createSessionChecks, type Revisions, type SessionChecksDeps } from './session-checks.ts';

export interface SessionRevalidationDeps extends SessionChecksDeps {
  readonly source: SessionSource;
  /** Sessions that live and have connections here. */
  onLive(snapshots: readonly Snapshot[]): void;
  /** Whether changes of sessions are heard at present. */
  isBusHealthy(): boolean;
}

/** Looks for changes of sessions: those that the bus told of, and those that it did not. */
export interface SessionRevalidation extends Disposable {
  /** Compares every local session with Redis, and with the session service where Redis does not know. */
  checkAll(): Promise<void>;
  /** Reads sessions of which a change was heard, and tells their connections. What cannot be read now is tried again each second. */
  checkChanged(ids: readonly SessionId[]): Promise<void>;
}

const SWEEP_MS = 30_000;
/** That the bus is deaf is noticed after three seconds at most; with this a change is known within five. */
const DEAF_POLL_MS = 1_000;
const BATCH = 500;
/** Rotations with which privileges change; after any other one the old secret stays good for a while. */
const RAISES = new Set(['step_up', 'upgrade']);

/** Whether a change of a session raises its privileges: who came in before comes in again. */
export const isPrivilegeChange = (why: string): boolean => RAISES.has(why);

/** Every session once in 30 s; while the bus is deaf, what ended or changed recently every second. One pass at a time. */
export const createSessionRevalidation = (deps: SessionRevalidationDeps): SessionRevalidation => {
  const { registry, source, log } = deps;
  const checks = createSessionChecks(deps);
  let running: Promise<void> | undefined;
  let isPolling = false;
  /** Changed sessions that neither Redis nor the session service could show yet, with the least revision that counts. */
  const unread = new Map<SessionId, number>();

  const pass = async (): Promise<void> => {
    for (const ids of batches([...registry.ids()])) deps.onLive((await checks.check(ids)).live);
  };
  const checkAll = (): Promise<void> => {
    running ??= pass()
      .catch((error: unknown) => log.warn({ error }, 'session.sweep_failed'))
      .finally(() => {
        running = undefined;
      });
    return running;
  };
  const checkRevisions = async (least: Revisions): Promise<void> => {
    const skipsRedis = !deps.isBusHealthy();
    for (const ids of batches([...least.keys()].filter(registry.has))) {
      const { undecided } = await checks.check(ids, { least, skipsRedis });
      for (const id of undecided) unread.set(id, least.get(id) ?? 0);
    }
  };
  /** What the bus did not tell: ends, raised privileges, and changes of what sessions may do. */
  const missedChanges = async (): Promise<Map<SessionId, number>> => {
    const wanted = new Map<SessionId, number>();
    if (deps.isBusHealthy() || registry.size() === 0) return wanted;
    const { ended, changed } = await source.recentChanges();
    for (const { id, why } of ended) registry.end(id, why);
    for (const { id, why, rev } of changed) {
      if (!registry.isBehind(id, rev)) continue;
      if (isPrivilegeChange(why)) registry.renew(id, why, rev);
      else wanted.set(id, rev);
    }
    return wanted;
  };
  const poll = async (): Promise<void> => {
    if (isPolling) return;
    isPolling = true;
    const before = new Map(unread);
    unread.clear();
    const missed = await missedChanges().catch((error: unknown): Revisions => {
      log.debug({ error }, 'session.source_failed');
      return new Map();
    });
    await checkRevisions(new Map([...before, ...missed]));
    isPolling = false;
  };

  const stops: Stop[] = [every(SWEEP_MS, () => void checkAll()), every(DEAF_POLL_MS, () => void poll())];
  return {
    checkAll,
    checkChanged: (ids) => checkRevisions(new Map(ids.map((id) => [id, 0]))),
    [Symbol.dispose]: () => {
      for (const stop of stops) stop();
    },
  };
};

const batches = (ids: readonly SessionId[]): SessionId[][] =>
  Array.from({ length: Math.ceil(ids.length / BATCH) }, (_, at) => ids.slice(at * BATCH, (at + 1) * BATCH));
