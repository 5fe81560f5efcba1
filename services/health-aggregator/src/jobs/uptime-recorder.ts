import { type Clock, every } from '@muster/kit/clock';
import type { Logger } from '@muster/kit/logger';
import { oneAtATime } from '@muster/kit/periodic-job';
import type { FleetState } from '../core/fleet.ts';
import { addIncrements, StatusTimeline, type TimeRange, type UptimeDay, WHOLE_FLEET } from '../core/uptime-history.ts';
import type { UptimeStore } from '../stores/uptime-store.ts';

const COUNT_MS = 1_000;
const WRITE_EVERY = 10;
const PRUNE_EVERY = 3_600;
/** Older history that is not written yet is dropped. */
const MEMORY_MS = 86_400_000;

/** Records uptime history. */
export type UptimeRecorder = ReturnType<typeof startUptimeRecorder>;

interface UptimeRecorderDeps {
  readonly fleet: FleetState;
  readonly store: UptimeStore;
  /** Epoch of this aggregator while it is the leader. */
  readonly epoch: () => number | undefined;
  readonly clock: Clock;
  readonly log: Logger;
}

/** Records the status every second, also without Redis; the leader writes it every ten seconds. Disposing writes the rest. */
export const startUptimeRecorder = ({ fleet, store, epoch, clock, log }: UptimeRecorderDeps) => {
  const timeline = new StatusTimeline();
  let known: ReadonlyMap<string, readonly UptimeDay[]> = new Map();
  let writtenUntil: number | undefined;
  let ticks = 0;

  const subjects = (): string[] => {
    const { services, dependencies } = fleet.snapshot();
    const stores = Object.entries(dependencies).filter(([, { reporters }]) => reporters > 0);
    return [
      ...new Set([
        ...[WHOLE_FLEET, ...services.map(({ service }) => service)],
        ...[...stores.map(([store]) => store), ...known.keys()],
      ]),
    ];
  };
  /** Whole seconds, so that no fraction is lost between two writes. */
  const untilNow = (from: number): TimeRange => ({ from, to: Math.floor(clock.now() / 1_000) * 1_000 });
  const writeAsLeader = async (own: number, until: number | undefined): Promise<void> => {
    const start = until ?? timeline.startedAt;
    if (start === undefined) return;
    const span = untilNow(Math.max(start, clock.now() - MEMORY_MS));
    if (span.to <= span.from) return;
    const { increments, gaps } = timeline.countSeconds(span);
    await store.add({ epoch: own, before: until, until: span.to, increments, gaps });
    if (ticks % PRUNE_EVERY === 0) await store.prune(subjects(), clock.now());
  };
  /** Fills gaps of the leader from the memory of this observer. */
  const fill = async (gaps: readonly TimeRange[]): Promise<void> => {
    for (const gap of gaps) {
      const { increments, gaps: left } = timeline.countSeconds(gap);
      if (increments.size > 0) await store.fill(gap, increments, left);
    }
  };
  const write = async (): Promise<void> => {
    const { until, gaps } = await store.written();
    const own = epoch();
    if (own !== undefined) await writeAsLeader(own, until);
    await fill(gaps);
    const after = await store.written();
    known = await store.read(subjects(), clock.now());
    writtenUntil = after.until;
    const oldest = Math.min(...[after.until ?? 0, ...after.gaps.map(({ from }) => from)]);
    timeline.discardBefore(Math.max(oldest, clock.now() - MEMORY_MS));
  };
  const flush = oneAtATime(() =>
    write().catch((error: unknown) => log.debug({ error }, 'uptime_history.write_failed')),
  );
  const stop = every(COUNT_MS, () => {
    ticks += 1;
    timeline.add(fleet.snapshot(), clock.now());
    if (ticks % WRITE_EVERY === 0) void flush();
  });
  void flush();
  return {
    /** The last 90 days by service and store, and of the whole under `fleet`; from memory, including what is not written yet. */
    days: (): ReadonlyMap<string, readonly UptimeDay[]> => {
      const from = writtenUntil ?? timeline.startedAt;
      if (from === undefined) return known;
      const { increments } = timeline.countSeconds(untilNow(from));
      return new Map([...known].map(([subject, days]) => [subject, addIncrements(days, increments.get(subject))]));
    },
    [Symbol.asyncDispose]: async (): Promise<void> => {
      stop();
      await flush.settled();
      await flush();
    },
  };
};
