import { SERVICE_STATUSES, type ServiceStatus } from './verdict.ts';
import type { FleetView } from './view.ts';

/** Days that are kept and shown. */
export const HISTORY_DAYS = 90;
const DAY_MS = 86_400_000;
/** A gap longer than this was not observed, so it is not counted. */
const LONGEST_STEP_MS = 5_000;
const NEGLIGIBLE_S = 60;

/** Seconds that a subject spent in each status on one day. */
export type DaySeconds = Readonly<Partial<Record<ServiceStatus, number>>>;

/** One day of a subject, UTC. */
export interface Day {
  readonly date: string;
  readonly seconds: DaySeconds;
}

/** Increments by subject, then by `date:status`, in seconds. */
export type Increments = ReadonlyMap<string, ReadonlyMap<string, number>>;

/** Name under which the fleet as a whole stands among the services. */
export const WHOLE_FLEET = 'fleet';

/** The date of a moment, UTC. */
export const dateOf = (at: number): string => new Date(at).toISOString().slice(0, 10);

/** Counts how long everything is how well, between two writings. */
export class Tally {
  #milliseconds = new Map<string, Map<string, number>>();
  #lastAt: number | undefined;

  /** Adds the time since the last call to the statuses of this view; `now` in ms since epoch. */
  add(view: FleetView, now: number): void {
    const stepMs = this.#lastAt === undefined ? 0 : now - this.#lastAt;
    this.#lastAt = now;
    if (stepMs <= 0 || stepMs > LONGEST_STEP_MS) return;
    const date = dateOf(now);
    this.#count(WHOLE_FLEET, `${date}:${view.status}`, stepMs);
    for (const { service, status } of view.services) this.#count(service, `${date}:${status}`, stepMs);
  }

  #count(subject: string, field: string, ms: number): void {
    const fields = this.#milliseconds.get(subject) ?? new Map<string, number>();
    fields.set(field, (fields.get(field) ?? 0) + ms);
    this.#milliseconds.set(subject, fields);
  }

  /** Takes whole seconds out; what is left of a second stays for the next time. */
  take(): Increments {
    const taken = new Map<string, Map<string, number>>();
    for (const [subject, fields] of this.#milliseconds) {
      const whole = new Map<string, number>();
      for (const [field, ms] of fields) {
        const seconds = Math.floor(ms / 1_000);
        if (seconds > 0) whole.set(field, seconds);
        fields.set(field, ms - seconds * 1_000);
      }
      if (whole.size > 0) taken.set(subject, whole);
    }
    return taken;
  }

  /** Forgets what was not written; somebody else has led meanwhile. */
  clear(): void {
    this.#milliseconds = new Map();
    this.#lastAt = undefined;
  }
}

/** Reads stored fields as the last days, oldest first; days without a field are empty. */
export const daysOf = (fields: Readonly<Record<string, string>>, now: number, count = HISTORY_DAYS): Day[] =>
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
export const outdated = (fields: readonly string[], now: number): string[] => {
  const oldest = dateOf(now - (HISTORY_DAYS - 1) * DAY_MS);
  return fields.filter((field) => field.slice(0, 10) < oldest);
};

/** The worst status that lasted a minute; undefined when nothing was observed for that long. */
export const worstOf = ({ seconds }: Day): ServiceStatus | undefined => {
  const order: readonly ServiceStatus[] = [
    'major_outage',
    'partial_outage',
    'degraded',
    'operational',
    'unknown',
  ];
  return order.find((status) => (seconds[status] ?? 0) >= NEGLIGIBLE_S);
};

/** Share of the observed time in which clients were served, 0 to 1; undefined when nothing was observed. */
export const availabilityOf = (days: readonly Day[]): number | undefined => {
  let served = 0;
  let observed = 0;
  for (const { seconds } of days) {
    const lost = seconds.major_outage ?? 0;
    const good = (seconds.operational ?? 0) + (seconds.degraded ?? 0) + (seconds.partial_outage ?? 0);
    served += good;
    observed += good + lost;
  }
  return observed === 0 ? undefined : served / observed;
};
