import type { BusMessage } from '@muster/bus/envelope';
import type { Clock } from '@muster/kit/clock';

/** Bytes of the recent publications of all groups of a process. */
export interface RecentPublicationsBudget {
  readonly maxBytes: number;
  usedBytes: number;
}

/** Publications per group. */
const MAX_MESSAGES = 100;
/** Bytes per group. */
const MAX_BYTES = 65_536;
/** Longest delay between append and arrival: a received publication is known to be retained until this long before its TTL. */
const ARRIVAL_SLACK_MS = 5_000;

/** The newest publications of one group in memory, without gaps: a recovery right after a disconnect needs no read of the stream. */
export class RecentPublications {
  readonly #budget: RecentPublicationsBudget;
  readonly #clock: Pick<Clock, 'monotonic'>;
  #messages: BusMessage[] = [];
  #bytes = 0;
  #maxMessages: number;
  /** Monotonic time until which the stream, and with it these publications, are known to be retained. */
  #retainedUntil = Number.NEGATIVE_INFINITY;

  /** `size`: publications that the group's stream retains. */
  constructor(budget: RecentPublicationsBudget, clock: Pick<Clock, 'monotonic'>, size: number) {
    this.#budget = budget;
    this.#clock = clock;
    this.#maxMessages = Math.min(size, MAX_MESSAGES);
  }

  /** Applies another size of the stream. */
  resize(size: number): void {
    this.#maxMessages = Math.min(size, MAX_MESSAGES);
    this.#trim();
  }

  /** False when the retention of the publications may have ended. */
  get isRetained(): boolean {
    return this.#clock.monotonic() < this.#retainedUntil;
  }

  /** The stream is known to be retained until this monotonic time. */
  retainUntil(until: number): void {
    this.#retainedUntil = Math.max(this.#retainedUntil, until);
  }

  /** An append restarts the retention, also of earlier publications whose retention has not ended. */
  onAppended(ttlMs: number): void {
    const now = this.#clock.monotonic();
    if (now >= this.#retainedUntil) this.clear();
    this.retainUntil(now + Math.min(ttlMs / 2, ttlMs - ARRIVAL_SLACK_MS));
  }

  /** The retention of the stream has changed: how long these publications are retained is unknown. */
  expire(): void {
    this.#retainedUntil = Number.NEGATIVE_INFINITY;
  }

  /** Appends the next publication. One that does not follow the last replaces all. */
  push(message: BusMessage): void {
    const last = this.#messages.at(-1);
    if (last !== undefined && (last.offset + 1 !== message.offset || last.epoch !== message.epoch)) this.clear();
    const size = message.body.length;
    if (size > MAX_BYTES || this.#budget.usedBytes + size > this.#budget.maxBytes) {
      this.clear();
      return;
    }
    this.#messages.push(message);
    this.#count(size);
    this.#trim();
  }

  /**
   * Prepends publications that were read from the stream and end right before the first publication here, or before
   * `next` when there is none. Adds as many of the newest as fit; none when there is a gap in between.
   */
  backfill(older: readonly BusMessage[], next: number): void {
    const from = this.#messages[0]?.offset ?? next;
    if (older.at(-1)?.offset !== from - 1) return;
    const kept: BusMessage[] = [];
    let bytes = 0;
    for (let at = older.length - 1; at >= 0; at -= 1) {
      const message = older[at];
      if (message === undefined || message.offset !== from - 1 - kept.length) break;
      bytes += message.body.length;
      const isFull = this.#messages.length + kept.length >= this.#maxMessages || this.#bytes + bytes > MAX_BYTES;
      if (isFull || this.#budget.usedBytes + bytes > this.#budget.maxBytes) break;
      kept.push(message);
    }
    if (kept.length === 0) return;
    this.#count(kept.reduce((sum, { body }) => sum + body.length, 0));
    this.#messages = [...kept.reverse(), ...this.#messages];
  }

  /** All publications after an offset; undefined when older publications are missing. */
  after(offset: number): readonly BusMessage[] | undefined {
    const first = this.#messages[0];
    if (first === undefined || offset < first.offset - 1) return undefined;
    return this.#messages.slice(offset - first.offset + 1);
  }

  /** Offset of the oldest publication here. */
  get first(): number | undefined {
    return this.#messages[0]?.offset;
  }

  get(offset: number): BusMessage | undefined {
    const first = this.#messages[0];
    return first === undefined ? undefined : this.#messages[offset - first.offset];
  }

  clear(): void {
    this.#count(-this.#bytes);
    this.#messages = [];
  }

  /** Drops the publications up to an offset. */
  dropThrough(offset: number): void {
    while ((this.#messages[0]?.offset ?? Number.POSITIVE_INFINITY) <= offset) this.#shift();
  }

  #trim(): void {
    while (this.#messages.length > this.#maxMessages || this.#bytes > MAX_BYTES) this.#shift();
  }

  #shift(): void {
    this.#count(-(this.#messages.shift()?.body.length ?? 0));
  }

  #count(bytes: number): void {
    this.#bytes += bytes;
    this.#budget.usedBytes += bytes;
  }
}
