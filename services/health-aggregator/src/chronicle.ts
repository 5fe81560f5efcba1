import { type Clock, every } from '@muster/kit/clock';
import type { Logger } from '@muster/kit/logger';
import type { Fleet } from './core/fleet.ts';
import { type Day, Tally, WHOLE_FLEET } from './core/history.ts';
import type { HistoryStore } from './sources/history-store.ts';

const COUNT_MS = 1_000;
const WRITE_EVERY = 10;
const PRUNE_EVERY = 3_600;

/** The history of the fleet: written by the leader, read by all. Disposing writes what is left. */
export interface Chronicle extends AsyncDisposable {
  /** The last 90 days by service, and of the whole under `fleet`; from memory. */
  days(): ReadonlyMap<string, readonly Day[]>;
}

/** What it needs. */
export interface ChronicleDeps {
  readonly fleet: Fleet;
  readonly store: HistoryStore;
  /** Our epoch while we lead. */
  readonly epoch: () => number | undefined;
  readonly clock: Clock;
  readonly log: Logger;
}

/** Counts each second while leading, writes and reads each ten. */
export const createChronicle = ({ fleet, store, epoch, clock, log }: ChronicleDeps): Chronicle => {
  const tally = new Tally();
  let known: ReadonlyMap<string, readonly Day[]> = new Map();
  let ticks = 0;
  let running: Promise<void> | undefined;

  const subjects = (): string[] => [WHOLE_FLEET, ...fleet.view().services.map(({ service }) => service)];
  const write = async (): Promise<void> => {
    const mine = epoch();
    // Lost seconds are better than seconds counted twice, so a failed writing is not repeated.
    if (mine !== undefined) await store.add(mine, tally.take());
    if (mine !== undefined && ticks % PRUNE_EVERY === 0) await store.prune(subjects(), clock.now());
    known = await store.read(subjects(), clock.now());
  };
  const flush = (): Promise<void> => {
    running ??= write()
      .catch((error: unknown) => log.debug({ error }, 'history.interrupted'))
      .finally(() => {
        running = undefined;
      });
    return running;
  };
  const stop = every(COUNT_MS, () => {
    ticks += 1;
    if (epoch() === undefined) tally.clear();
    else tally.add(fleet.view(), clock.now());
    if (ticks % WRITE_EVERY === 0) void flush();
  });
  void flush();
  return {
    days: () => known,
    [Symbol.asyncDispose]: async () => {
      stop();
      await running;
      await flush();
    },
  };
};
