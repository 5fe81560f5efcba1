import type { FleetSnapshot } from './fleet-snapshot.ts';
import { SERVICE_STATUSES, type ServiceStatus, STATUS_OF_DEPENDENCY } from './status.ts';

/** Number of days that are kept. */
export const HISTORY_DAYS = 90;
const DAY_MS = 86_400_000;
/** A longer time between two snapshots is a gap and is not counted. */
const MAX_STEP_MS = 5_000;
const NEGLIGIBLE_S = 60;

/** Seconds that a subject spent in each status on one day. */
export type DaySeconds = Readonly<Partial<Record<ServiceStatus, number>>>;

/** One day of a subject, UTC. */
export interface UptimeDay {
  readonly date: string;
  readonly seconds: DaySeconds;
}

/** Increments by subject, then by `date:status`, in seconds. */
export type Increments = ReadonlyMap<string, ReadonlyMap<string, number>>;

/** Subject of the fleet as a whole, among the services. */
export const WHOLE_FLEET = 'fleet';

/** The date of a moment, UTC. */
export const dateOf = (at: number): string => new Date(at).toISOString().slice(0, 10);

/** A range of time, ms since the epoch. */
export interface TimeRange {
  readonly from: number;
  readonly to: number;
}

interface Segment extends TimeRange {
  readonly status: ServiceStatus;
}

/** Observed seconds of a range. */
export interface StatusSeconds {
  readonly increments: Increments;
  /** Parts of the range that this observer did not observe. */
  readonly gaps: readonly TimeRange[];
}

const MAX_SEGMENTS = 20_000;

/** Statuses of all subjects over time, kept until they are written to Redis. */
export class StatusTimeline {
  readonly #segments = new Map<string, Segment[]>();
  #lastAt: number | undefined;

  /** Adds the time since the last call with the statuses of a snapshot; `now` in ms since the epoch. */
  add(snapshot: FleetSnapshot, now: number): void {
    const from = this.#lastAt ?? now;
    this.#lastAt = now;
    if (now <= from || now - from > MAX_STEP_MS) return;
    this.#extend(WHOLE_FLEET, { from, to: now, status: snapshot.status });
    for (const { service, status } of snapshot.services) this.#extend(service, { from, to: now, status });
    for (const [store, { status, reporters }] of Object.entries(snapshot.dependencies)) {
      // Before the first report the status of a store is not recorded.
      if (reporters > 0 || this.#segments.has(store))
        this.#extend(store, { from, to: now, status: STATUS_OF_DEPENDENCY[status] });
    }
  }

  #extend(subject: string, next: Segment): void {
    const segments = this.#segments.get(subject) ?? [];
    this.#segments.set(subject, segments);
    const last = segments.at(-1);
    if (last?.status === next.status && last.to === next.from && dateOf(last.from) === dateOf(next.to)) {
      segments[segments.length - 1] = { ...last, to: next.to };
    } else segments.push(next);
    if (segments.length > MAX_SEGMENTS) segments.shift();
  }

  /** Whole seconds by subject and status in a range, and the gaps of the range. Does not discard anything. */
  countSeconds({ from, to }: TimeRange): StatusSeconds {
    const increments = new Map<string, ReadonlyMap<string, number>>();
    for (const [subject, segments] of this.#segments) {
      const fields = new Map<string, number>();
      for (const { status, ...span } of within(segments, { from, to })) {
        const field = `${dateOf(span.from)}:${status}`;
        fields.set(field, (fields.get(field) ?? 0) + span.to - span.from);
      }
      const seconds = wholeSeconds(fields);
      if (seconds.size > 0) increments.set(subject, seconds);
    }
    return {
      increments,
      gaps: gapsIn(within(this.#segments.get(WHOLE_FLEET) ?? [], { from, to }), { from, to }),
    };
  }

  /** Time of the first observation; undefined before it. */
  get startedAt(): number | undefined {
    return this.#segments.get(WHOLE_FLEET)?.[0]?.from;
  }

  /** Discards everything before a time. */
  discardBefore(before: number): void {
    for (const [subject, segments] of this.#segments) {
      const kept = segments.filter(({ to }) => to > before);
      if (kept.length === 0) this.#segments.delete(subject);
      else this.#segments.set(subject, kept);
    }
  }
}

/** The parts of segments inside a range. */
const within = (segments: readonly Segment[], { from, to }: TimeRange): Segment[] =>
  segments
    .map((segment) => ({ ...segment, from: Math.max(segment.from, from), to: Math.min(segment.to, to) }))
    .filter((segment) => segment.from < segment.to);

/** Shorter gaps are the normal time between two snapshots. */
const MIN_GAP_MS = 2_000;

const gapsIn = (seen: readonly TimeRange[], { from, to }: TimeRange): TimeRange[] => {
  const gaps: TimeRange[] = [];
  let at = from;
  for (const span of seen) {
    gaps.push({ from: at, to: span.from });
    at = span.to;
  }
  gaps.push({ from: at, to });
  return gaps.filter((gap) => gap.to - gap.from >= MIN_GAP_MS);
};

/** Rounds to seconds and carries the remainder, so that the sum is kept. */
const wholeSeconds = (fields: ReadonlyMap<string, number>): Map<string, number> => {
  const seconds = new Map<string, number>();
  let carried = 0;
  for (const [field, ms] of fields) {
    const whole = Math.round((ms + carried) / 1_000);
    carried += ms - whole * 1_000;
    if (whole > 0) seconds.set(field, whole);
  }
  return seconds;
};

/** Adds increments that are not yet in Redis. */
export const addIncrements = (
  days: readonly UptimeDay[],
  fields: ReadonlyMap<string, number> | undefined,
): readonly UptimeDay[] =>
  fields === undefined
    ? days
    : days.map(({ date, seconds }) => {
        const sum: Partial<Record<ServiceStatus, number>> = { ...seconds };
        for (const status of SERVICE_STATUSES) {
          const more = fields.get(`${date}:${status}`);
          if (more !== undefined) sum[status] = (sum[status] ?? 0) + more;
        }
        return { date, seconds: sum };
      });

/** Parses stored fields into the last days, oldest first; days without a field are empty. */
export const uptimeDaysOf = (
  fields: Readonly<Record<string, string>>,
  now: number,
  count = HISTORY_DAYS,
): UptimeDay[] =>
  Array.from({ length: count }, (_, index) => {
    const date = dateOf(now - (count - 1 - index) * DAY_MS);
    const seconds: Partial<Record<ServiceStatus, number>> = {};
    for (const status of SERVICE_STATUSES) {
      const value = Number(fields[`${date}:${status}`] ?? 0);
      if (value > 0) seconds[status] = value;
    }
    return { date, seconds };
  });

/** Fields of days that are no longer kept. */
export const expiredFields = (fields: readonly string[], now: number): string[] => {
  const oldest = dateOf(now - (HISTORY_DAYS - 1) * DAY_MS);
  return fields.filter((field) => field.slice(0, 10) < oldest);
};

/** The worst status of at least a minute; undefined when no status lasted so long. */
export const worstStatusOf = ({ seconds }: UptimeDay): ServiceStatus | undefined => {
  const order: readonly ServiceStatus[] = ['major_outage', 'partial_outage', 'degraded', 'operational', 'unknown'];
  return order.find((status) => (seconds[status] ?? 0) >= NEGLIGIBLE_S);
};

/**
 * Availability over the observed time, 0 to 1; undefined without any. A service or store is available during a partial outage, the
 * fleet as a whole is not.
 */
export const availabilityOf = (days: readonly UptimeDay[], subject?: string): number | undefined => {
  let served = 0;
  let observed = 0;
  for (const { seconds } of days) {
    const partial = seconds.partial_outage ?? 0;
    const good = (seconds.operational ?? 0) + (seconds.degraded ?? 0);
    served += subject === WHOLE_FLEET ? good : good + partial;
    observed += good + partial + (seconds.major_outage ?? 0);
  }
  return observed === 0 ? undefined : served / observed;
};
