import type { FleetSnapshot } from './fleet-snapshot.ts';
import { SERVICE_STATUSES, type ServiceStatus, STORE_STATUS } from './status.ts';

/** Days that are kept and shown. */
export const HISTORY_DAYS = 90;
const DAY_MS = 86_400_000;
/** A gap longer than this was not observed, so it is not counted. */
const LONGEST_STEP_MS = 5_000;
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

/** Name under which the fleet as a whole stands among the services. */
export const WHOLE_FLEET = 'fleet';

/** The date of a moment, UTC. */
export const dateOf = (at: number): string => new Date(at).toISOString().slice(0, 10);

/** A time, ms since epoch. */
export interface TimeRange {
  readonly from: number;
  readonly to: number;
}

interface Segment extends TimeRange {
  readonly status: ServiceStatus;
}

/** How much of a time was looked at, and what was seen in it. */
export interface StatusSeconds {
  readonly increments: Increments;
  /** Parts of the time in which this observer did not look. */
  readonly gaps: readonly TimeRange[];
}

const MAX_SEGMENTS = 20_000;

/** Remembers how everything was, until it is written: by whom, and from when on, is decided by whoever writes. */
export class StatusTimeline {
  readonly #segments = new Map<string, Segment[]>();
  #lastAt: number | undefined;

  /** Adds the time since the last call with the statuses of this view; `now` in ms since epoch. */
  add(view: FleetSnapshot, now: number): void {
    const from = this.#lastAt ?? now;
    this.#lastAt = now;
    if (now <= from || now - from > LONGEST_STEP_MS) return;
    this.#extend(WHOLE_FLEET, { from, to: now, status: view.status });
    for (const { service, status } of view.services) this.#extend(service, { from, to: now, status });
    for (const [store, { status, reporters }] of Object.entries(view.dependencies)) {
      // Nobody who could tell has been seen: then nothing is claimed.
      if (reporters > 0 || this.#segments.has(store))
        this.#extend(store, { from, to: now, status: STORE_STATUS[status] });
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

  /** What was seen in a time, in whole seconds, and when nobody looked. Nothing is forgotten by it. */
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

  /** Since when this observer has looked; undefined when it has not yet. */
  get startedAt(): number | undefined {
    return this.#segments.get(WHOLE_FLEET)?.[0]?.from;
  }

  /** Drops what nobody will ask for again. */
  discardBefore(before: number): void {
    for (const [subject, segments] of this.#segments) {
      const kept = segments.filter(({ to }) => to > before);
      if (kept.length === 0) this.#segments.delete(subject);
      else this.#segments.set(subject, kept);
    }
  }
}

/** The parts of segments that lie in a time, cut at its ends. */
const within = (segments: readonly Segment[], { from, to }: TimeRange): Segment[] =>
  segments
    .map((one) => ({ ...one, from: Math.max(one.from, from), to: Math.min(one.to, to) }))
    .filter((one) => one.from < one.to);

/** Shorter gaps are the time between two looks. */
const SHORTEST_GAP_MS = 2_000;

const gapsIn = (seen: readonly TimeRange[], { from, to }: TimeRange): TimeRange[] => {
  const gaps: TimeRange[] = [];
  let at = from;
  for (const span of seen) {
    gaps.push({ from: at, to: span.from });
    at = span.to;
  }
  gaps.push({ from: at, to });
  return gaps.filter((gap) => gap.to - gap.from >= SHORTEST_GAP_MS);
};

/** Rounds so that the sum is that of the milliseconds: what one loses another gains. */
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

/** Days with what is not written yet. */
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

/** Reads stored fields as the last days, oldest first; days without a field are empty. */
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

/** Fields older than what is kept. */
export const expiredFields = (fields: readonly string[], now: number): string[] => {
  const oldest = dateOf(now - (HISTORY_DAYS - 1) * DAY_MS);
  return fields.filter((field) => field.slice(0, 10) < oldest);
};

/** The worst status that lasted a minute; undefined when nothing was observed for that long. */
export const worstStatusOf = ({ seconds }: UptimeDay): ServiceStatus | undefined => {
  const order: readonly ServiceStatus[] = [
    'major_outage',
    'partial_outage',
    'degraded',
    'operational',
    'unknown',
  ];
  return order.find((status) => (seconds[status] ?? 0) >= NEGLIGIBLE_S);
};

/**
 * Share of the observed time, 0 to 1; undefined when nothing was observed. Of a service or a store it is the time in which it served, if
 * only in part; of the whole fleet the time in which nothing that users do failed.
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
